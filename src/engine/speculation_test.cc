#include "engine/speculation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "engine/generation.h"
#include "model/load_tokenizer.h"
#include "tests/support/tiny_model.h"

namespace geist::engine {
namespace {

using Tokens = std::vector<TokenId>;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<model::Model> tiny() {
  auto loaded = model::Model::load(testing::tiny_model());
  EXPECT_TRUE(loaded.ok());
  return std::move(*loaded);
}

struct Fixture {
  std::unique_ptr<model::Model> model = tiny();
  text::Tokenizer tokenizer = model::load_tokenizer(model->file().metadata()).value();
  ThreadPool pool{1};
  Runner runner{*model, pool};
};

Fixture& fixture() {
  static Fixture* const made = new Fixture;
  return *made;
}

// ---- the index

Tokens lookup(NgramIndex& index, const Tokens& text, int32_t count) {
  index.sync(text);
  Tokens out;
  if (const auto match = index.longest(); match.length > 0) index.copy(match, count, out);
  return out;
}

TEST(NgramIndex, FindsTheLongestThenTheNewest) {
  NgramIndex index;
  EXPECT_THAT(lookup(index, {}, 4), IsEmpty());
  EXPECT_THAT(lookup(index, {1, 2, 3, 4}, 4), IsEmpty());
  EXPECT_THAT(lookup(index, {1, 2, 3, 4, 5, 1, 2, 3}, 2), ElementsAre(4, 5));
  // "9 1 2 3" was followed by 7, the newer "1 2 3" by 8.
  EXPECT_THAT(lookup(index, {9, 1, 2, 3, 7, 6, 1, 2, 3, 8, 9, 1, 2, 3}, 1), ElementsAre(7));
  EXPECT_THAT(lookup(index, {9, 1, 2, 3, 7, 6, 1, 2, 3, 8, 5, 1, 2, 3}, 1), ElementsAre(8));
  EXPECT_THAT(lookup(index, {1, 2, 1, 2, 1, 2}, 5), ElementsAre(1, 2, 1, 2, 1));
  EXPECT_THAT(lookup(index, {7, 7, 7, 7}, 3), ElementsAre(7, 7, 7));
}

// Growing and cutting back gives what an index made anew gives.
TEST(NgramIndex, SyncIsTheSameAsAnew) {
  RandomStream random(3, "ngram");
  NgramIndex index;
  Tokens text;
  for (int round = 0; round < 300; ++round) {
    if (random.next_below(4) == 0) text.resize(random.next_below(text.size() + 1));
    for (uint64_t i = random.next_below(12); i > 0; --i)
      text.push_back(static_cast<TokenId>(random.next_below(3)));
    NgramIndex fresh;
    EXPECT_EQ(lookup(index, text, 9), lookup(fresh, text, 9));
  }
}

// ---- the cost model

TEST(SpeculationCost, DraftsWhatPaysAndStopsLosing) {
  SpeculationCost cost;
  EXPECT_EQ(cost.choose(3, 16), 0);  // nothing measured yet
  cost.passed(1, 1.0);
  // Accepted drafts raise the number, refused ones end it.
  for (int i = 0; i < 20; ++i) {
    const int32_t k = cost.choose(3, 16);
    ASSERT_GT(k, 0);
    cost.passed(1 + k, 1 + 0.1 * k);
    cost.verified(3, k, k, 0, 1 + 0.1 * k);
  }
  EXPECT_GT(cost.choose(3, 16), 8);
  EXPECT_LE(cost.choose(3, 4), 4);
  double lost = 0, work = 0;
  for (int i = 0; i < 400; ++i) {
    const int32_t k = cost.choose(0, 16);
    const double seconds = k == 0 ? 1 : 1 + 0.1 * k;
    cost.passed(1 + k, seconds);
    if (k > 0) cost.verified(0, k, 0, 0, seconds);
    work += seconds;
    lost += seconds - 1;
  }
  EXPECT_LT(lost, 6 + 0.5 + 0.015 * (work + 50));  // what was won before, and the allowance
  // Passes that cost as much as their tokens never pay.
  SpeculationCost dear;
  dear.passed(1, 1.0);
  for (int i = 0; i < 100; ++i) {
    const int32_t k = dear.choose(3, 16);
    if (k == 0) dear.passed(1, 1.0);
    if (k > 0) dear.passed(1 + k, 1.0 + k), dear.verified(3, k, k, 0, 1.0 + k);
  }
  EXPECT_EQ(dear.choose(3, 16), 0);
}

// ---- the same bytes

struct Generated {
  Tokens tokens, session;
  std::vector<double> log_probabilities;
  std::string text;
  StopReason stop = StopReason::kNone;
  uint64_t position = 0;
  TokenId after = -1;  // drawn from a fork of the session at the end
  bool operator==(const Generated&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Generated& g) {
  return out << g.tokens.size() << " tokens, " << stop_reason_name(g.stop) << ": " << g.text;
}

struct Case {
  SamplerOptions sampler = {};
  GenerationOptions generation = {};
  int32_t context_max = 0;
  int32_t fork_after = -1;  // goes on in a fork after so many steps
};

Generated generate(const Case& use, Speculator* speculator) {
  Fixture& f = fixture();
  Session session(*f.model, {.context_max = use.context_max});
  const Tokens prompt = {1, 40, 41, 42, 43, 40, 41, 42};
  EXPECT_TRUE(session.append(prompt).ok());
  Sampler sampler(use.sampler);
  for (const TokenId id : prompt) sampler.accept(id);
  GenerationOptions options = use.generation;
  options.log_probabilities = true;
  options.speculator = speculator;
  Generated run;
  std::optional<Generation> generation;
  generation.emplace(session, f.runner, sampler, f.tokenizer, options);
  for (int32_t steps = 0; run.stop == StopReason::kNone; ++steps) {
    if (steps == use.fork_after) {
      session = session.fork();
      generation.emplace(session, f.runner, sampler, f.tokenizer, options);
    }
    const auto step = generation->step();
    EXPECT_TRUE(step.ok());
    if (step->token >= 0) {
      run.tokens.push_back(step->token);
      run.log_probabilities.push_back(step->log_probability);
    }
    run.text += step->text;
    run.stop = step->stop;
  }
  run.session.assign(session.tokens().begin(), session.tokens().end());
  run.position = sampler.position();
  // The keys and values are right too: what comes after depends on all of them.
  Session fork = session.fork();
  if (fork.length() == fork.context_max()) fork.truncate(fork.length() - 1);
  EXPECT_TRUE(fork.append(50).ok());
  while (fork.pending() > 0) f.runner.pass(fork);
  run.after = Sampler(use.sampler).sample(fork.logits());
  return run;
}

// Drafts the true continuation, wrong in one place in `wrong_every`: long accepted runs, and
// refusals everywhere in them.
class Oracle final : public Drafter {
 public:
  Oracle(Tokens truth, size_t wrong_every) : truth_(std::move(truth)), wrong_every_(wrong_every) {}
  int32_t consider(std::span<const TokenId> tokens) override {
    at_ = tokens.size() - 8;  // the prompt's length
    return 1;
  }
  void draft(int32_t count, const Sampler&, Tokens& out) override {
    for (int32_t i = 0; i < count && at_ < truth_.size(); ++i, ++at_)
      out.push_back(at_ % wrong_every_ == wrong_every_ - 1 ? (truth_[at_] + 1) % 200 : truth_[at_]);
  }

 private:
  Tokens truth_;
  size_t wrong_every_, at_ = 0;
};

void expect_same(const Case& use) {
  const Generated plain = generate(use, nullptr);
  for (const int32_t draft_max : {1, 2, 7, 32}) {
    const SpeculationOptions options{.draft_max = draft_max, .always = true};
    Speculator ngram(make_ngram_drafter(), options);
    EXPECT_EQ(generate(use, &ngram), plain);
    for (const size_t wrong_every : {size_t{2}, size_t{5}, size_t{1} << 30}) {
      Speculator oracle(std::make_unique<Oracle>(plain.tokens, wrong_every), options);
      EXPECT_EQ(generate(use, &oracle), plain) << draft_max << " " << wrong_every;
      const bool is_long = draft_max > 1 && plain.tokens.size() > 8;
      EXPECT_GE(oracle.stats().accepted, is_long ? 1 : 0);
    }
  }
  Speculator adaptive(make_ngram_drafter());
  EXPECT_EQ(generate(use, &adaptive), plain);
}

SamplerOptions everything() {
  SamplerOptions o;
  o.temperature = 1.1f;
  o.top_k = 60;
  o.typical_p = 0.97f;
  o.xtc_probability = 0.3f;
  o.xtc_threshold = 0.02f;
  o.dry_multiplier = 0.6f;
  o.dry_breakers = {{13}};
  o.repeat_penalty = 1.1f;
  o.frequency_penalty = 0.05f;
  o.presence_penalty = 0.05f;
  o.logit_bias = {{50, 1.5f}, {60, -2.0f}};
  o.seed = 5;
  return o;
}

SamplerOptions greedy() {
  SamplerOptions o;
  o.temperature = 0;
  return o;
}

TEST(Speculation, SameBytesForEverySampler) {
  const GenerationOptions long_run{.tokens_max = 70, .ignore_end = true};
  expect_same({greedy(), long_run});
  SamplerOptions mirostat = everything();
  mirostat.mirostat = 2;
  expect_same({everything(), long_run});
  expect_same({mirostat, long_run});
  SamplerOptions hot;
  hot.temperature = 3;
  hot.top_k = 0;
  expect_same({hot, long_run});
}

TEST(Speculation, EndsInsideADraft) {
  SamplerOptions end = everything();
  end.logit_bias = {{2, 3.5f}};
  expect_same({end, {.tokens_max = 200}});
  EXPECT_EQ(generate({end, {.tokens_max = 200}}, nullptr).stop, StopReason::kEnd);
  const Generated plain = generate({greedy(), {.tokens_max = 60, .ignore_end = true}}, nullptr);
  ASSERT_GT(plain.text.size(), 20u);
  const std::string stop = plain.text.substr(plain.text.size() / 2, 2);
  expect_same({greedy(), {.tokens_max = 60, .stops = {stop}, .ignore_end = true}});
  for (const int32_t tokens : {0, 1, 2, 9}) expect_same({greedy(), {.tokens_max = tokens}});
}

TEST(Speculation, StopsAtTheContext) {
  for (const int32_t context : {8, 9, 10, 33, 64})
    expect_same({greedy(), {.ignore_end = true}, context});
}

TEST(Speculation, ForksWhileDraftsAreInFlight) {
  for (const int32_t steps : {1, 4, 11})
    expect_same({everything(), {.tokens_max = 40, .ignore_end = true}, 0, steps});
}

// Between steps the session holds what was drawn and nothing else.
TEST(Speculation, TheSessionHoldsDrawnTokensOnly) {
  Fixture& f = fixture();
  const Generated plain = generate({greedy(), {.tokens_max = 30, .ignore_end = true}}, nullptr);
  Speculator oracle(std::make_unique<Oracle>(plain.tokens, 6), {.draft_max = 8, .always = true});
  Session session(*f.model, {});
  ASSERT_TRUE(session.append(std::span(plain.session).first(8)).ok());
  Sampler sampler(greedy());
  for (int i = 0; i < 8; ++i) sampler.accept(plain.session[static_cast<size_t>(i)]);
  Generation generation(session, f.runner, sampler, f.tokenizer,
                        {.tokens_max = 30, .ignore_end = true, .speculator = &oracle});
  for (size_t drawn = 1; drawn <= 30; ++drawn) {
    ASSERT_TRUE(generation.step().ok());
    EXPECT_EQ(Tokens(session.tokens().begin(), session.tokens().end()),
              Tokens(plain.session.begin(), plain.session.begin() + static_cast<long>(8 + drawn)));
  }
  EXPECT_GT(oracle.stats().accepted, 10);
  EXPECT_GE(oracle.stats().drafted, oracle.stats().accepted);
}

// A model that drafts for itself with the same random numbers is always right.
TEST(Speculation, TheModelItselfDraftsPerfectly) {
  Fixture& f = fixture();
  for (const SamplerOptions& sampler : {greedy(), everything()}) {
    auto drafter = make_model_drafter(tiny(), f.tokenizer, f.tokenizer, f.pool);
    ASSERT_TRUE(drafter.ok());
    Speculator speculator(std::move(*drafter), {.draft_max = 5, .always = true});
    const Case use{sampler, {.tokens_max = 50, .ignore_end = true}};
    EXPECT_EQ(generate(use, &speculator), generate(use, nullptr));
    EXPECT_EQ(speculator.stats().accepted, speculator.stats().drafted);
    EXPECT_GT(speculator.stats().accepted, 30);
  }
}

TEST(Speculation, RefusesAnotherVocabulary) {
  Fixture& f = fixture();
  text::Vocabulary other = f.tokenizer.vocabulary();
  other.tokens[280] = "zz";
  const auto changed = text::Tokenizer::create(other);
  ASSERT_TRUE(changed.ok());
  auto drafter = make_model_drafter(tiny(), *changed, f.tokenizer, f.pool);
  ASSERT_FALSE(drafter.ok());
  EXPECT_THAT(drafter.error().message, HasSubstr("token 280 is not the model's"));
}

}  // namespace
}  // namespace geist::engine
