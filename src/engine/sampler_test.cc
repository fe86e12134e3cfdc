#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "engine/sampler_stages.h"

namespace geist::engine {
namespace {

using stages::Candidates;

Candidates from_probabilities(const std::vector<double>& probabilities) {
  Candidates out;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    out.push_back({static_cast<TokenId>(i), static_cast<float>(std::log(probabilities[i])), 0});
  }
  stages::sort_and_weigh(out, 0);
  return out;
}

std::vector<TokenId> ids(const Candidates& candidates) {
  std::vector<TokenId> out;
  for (const Candidate& c : candidates) out.push_back(c.id);
  return out;
}

SamplerOptions plain() {  // draws from the softmax itself
  SamplerOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  return o;
}

std::vector<float> random_logits(uint64_t seed, size_t n, double scale = 3) {
  RandomStream random(seed, "sampler_test");
  std::vector<float> out(n);
  for (float& x : out) x = static_cast<float>((random.next_double() - 0.5) * scale * 2);
  return out;
}

using Ids = std::vector<TokenId>;

// The sets that llama.cpp's own test of these filters keeps (tests/test-sampling.cpp).
TEST(SamplerStages, TopKKeepsTheLargest) {
  Candidates c = from_probabilities({0.1, 0.2, 0.3, 0.4});
  stages::sort_and_weigh(c, 3);
  EXPECT_EQ(ids(c), (Ids{3, 2, 1}));
  EXPECT_EQ(c[0].weight, 1.0);
  EXPECT_NEAR(c[1].weight, 0.75, 1e-6);
}

TEST(SamplerStages, TopP) {
  for (const auto& [p, expected] : std::vector<std::pair<double, Ids>>{
           {0.0, {3}}, {0.39, {3}}, {0.69, {3, 2}}, {0.8, {3, 2, 1}}, {0.9999, {3, 2, 1, 0}}}) {
    Candidates c = from_probabilities({0.1, 0.2, 0.3, 0.4});
    stages::keep_top_p(c, p, 0);
    EXPECT_EQ(ids(c), expected) << p;
  }
}

TEST(SamplerStages, MinP) {
  for (const auto& [p, expected] : std::vector<std::pair<double, Ids>>{{0.24, {3, 2, 1, 0}},
                                                                       {0.26, {3, 2, 1}},
                                                                       {0.49, {3, 2, 1}},
                                                                       {0.51, {3, 2}},
                                                                       {0.74, {3, 2}},
                                                                       {0.76, {3}},
                                                                       {1.0, {3}}}) {
    Candidates c = from_probabilities({0.1, 0.2, 0.3, 0.4});
    stages::keep_min_p(c, p, 0);
    EXPECT_EQ(ids(c), expected) << p;
  }
}

TEST(SamplerStages, Typical) {
  Candidates peaked = from_probabilities({0.97, 0.01, 0.01, 0.01});
  stages::keep_typical(peaked, 0.5, 0);
  EXPECT_EQ(ids(peaked), (Ids{0}));
  // The most probable token says less than the entropy: it is the least typical.
  Candidates flat = from_probabilities({0.4, 0.2, 0.2, 0.2});
  stages::keep_typical(flat, 0.5, 0);
  EXPECT_EQ(ids(flat), (Ids{1, 2, 3}));
}

TEST(SamplerStages, ExcludeTopChoices) {
  for (const auto& [threshold, expected] : std::vector<std::pair<double, Ids>>{
           {0.09, {3}}, {0.19, {2, 3}}, {0.29, {1, 2, 3}}, {0.39, {0, 1, 2, 3}}}) {
    Candidates c = from_probabilities({0.4, 0.3, 0.2, 0.1});
    stages::exclude_top_choices(c, threshold, 0);
    EXPECT_EQ(ids(c), expected) << threshold;
  }
}

TEST(SamplerStages, MinKeepHoldsForEveryFilter) {
  using Filter = void (*)(Candidates&);
  for (const Filter filter :
       {Filter{[](Candidates& c) { stages::keep_top_p(c, 0.01, 3); }},
        Filter{[](Candidates& c) { stages::keep_min_p(c, 1, 3); }},
        Filter{[](Candidates& c) { stages::keep_typical(c, 0.01, 3); }},
        Filter{[](Candidates& c) { stages::exclude_top_choices(c, 0.01, 3); }}}) {
    Candidates c = from_probabilities({0.1, 0.2, 0.3, 0.4});
    filter(c);
    EXPECT_GE(c.size(), 3u);
  }
}

TEST(SamplerStages, DrawMapsTheUnitIntervalInOrder) {
  const Candidates c = from_probabilities({0.5, 0.25, 0.25});
  EXPECT_EQ(stages::draw(c, 0.0), 0u);
  EXPECT_EQ(stages::draw(c, 0.49), 0u);
  EXPECT_EQ(stages::draw(c, 0.51), 1u);
  EXPECT_EQ(stages::draw(c, 0.76), 2u);
  EXPECT_EQ(stages::draw(c, 0x1.fffffffffffffp-1), 2u);
}

// What a longest-suffix search over all earlier positions finds.
std::map<TokenId, int32_t> naive_repetitions(const Ids& history, size_t limit, int32_t allowed) {
  std::map<TokenId, int32_t> longest;
  const size_t n = history.size();
  for (size_t next = 1; next < n; ++next) {
    size_t length = 0;
    while (length < next && history[next - 1 - length] == history[n - 1 - length]) ++length;
    length = std::min(length, limit);
    if (length == 0 || static_cast<int32_t>(length) < allowed) continue;
    longest[history[next]] = std::max(longest[history[next]], static_cast<int32_t>(length));
  }
  return longest;
}

TEST(SamplerStages, RepetitionLengthsEqualNaiveSearch) {
  RandomStream random(5, "dry");
  for (int round = 0; round < 2000; ++round) {
    Ids history(random.next_below(40));
    const uint64_t alphabet = 1 + random.next_below(4);
    for (TokenId& id : history) id = static_cast<TokenId>(random.next_below(alphabet));
    const auto allowed = static_cast<int32_t>(1 + random.next_below(4));
    size_t limit = 0;  // tokens after the last token 0, our breaker in every other round
    while (limit < history.size() && (round % 2 == 0 || history[history.size() - 1 - limit] != 0))
      ++limit;
    const std::vector<Ids> breakers = round % 2 == 0 ? std::vector<Ids>{} : std::vector<Ids>{{0}};
    EXPECT_EQ(stages::repetition_lengths(history, breakers, allowed),
              naive_repetitions(history, limit, allowed));
  }
}

TEST(SamplerStages, LongestBreakerEndsTheMatch) {
  const Ids history = {1, 2, 7, 8, 3, 1, 2, 7, 8};
  EXPECT_EQ(stages::repetition_lengths(history, {}, 2), (std::map<TokenId, int32_t>{{3, 4}}));
  EXPECT_TRUE(stages::repetition_lengths(history, {{7, 8}}, 2).empty());
  EXPECT_EQ(stages::repetition_lengths(history, {{2}}, 2), (std::map<TokenId, int32_t>{{3, 2}}));
}

TEST(Sampler, GreedyTakesTheLargestAndTheSmallestIdOfEquals) {
  SamplerOptions o;
  o.temperature = 0;
  Sampler sampler(o);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 5, 5, 2}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-1, -5, NAN, -2}), 0);
  EXPECT_EQ(sampler.position(), 2u);
}

TEST(Sampler, BiasForbidsAndForces) {
  SamplerOptions o;
  o.temperature = 0;
  o.logit_bias = {{1, -INFINITY}, {3, 2.5f}, {99, 100.0f}, {-4, 1.0f}};
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1, 9, 3, 1}), 3);
}

TEST(Sampler, EverythingForbiddenGivesTokenZero) {
  EXPECT_EQ(Sampler(SamplerOptions{}).sample(std::vector<float>{-INFINITY, NAN}), 0);
}

TEST(Sampler, ExtremeLogitsAreDrawn) {
  SamplerOptions o = plain();
  EXPECT_EQ(Sampler(o).sample(std::vector<float>{1e38f, INFINITY, -1e38f}), 1);
  o.repeat_penalty = 1e-3f;
  Sampler penalised(o);
  penalised.accept(0);
  EXPECT_EQ(penalised.sample(std::vector<float>{3e38f, 0, 0}), 0);
}

TEST(Sampler, PenaltiesDivideMultiplyAndSubtract) {
  SamplerOptions o;
  o.temperature = 0;
  o.repeat_penalty = 2;
  o.frequency_penalty = 0.5f;
  o.presence_penalty = 0.25f;
  Sampler sampler(o);
  for (const TokenId id : {0, 0, 1}) sampler.accept(id);
  // 0: 4/2 - 2*0.5 - 0.25 = 0.75; 1: -1*2 - 0.75 = -2.75.
  EXPECT_EQ(sampler.sample(std::vector<float>{4, -1, 0.76f}), 2);
  EXPECT_EQ(sampler.sample(std::vector<float>{4, -1, 0.74f}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{-9, -1, -2.74f}), 2);
  EXPECT_EQ(sampler.sample(std::vector<float>{-9, -1, -2.76f}), 1);
}

TEST(Sampler, PenaltyWindowForgets) {
  SamplerOptions o;
  o.temperature = 0;
  o.repeat_penalty = 10;
  o.penalty_last_n = 2;
  Sampler sampler(o);
  const std::vector<float> logits{5, 4, 0, 0};
  sampler.accept(0);
  EXPECT_EQ(sampler.sample(logits), 1);
  sampler.accept(2);
  EXPECT_EQ(sampler.sample(logits), 1);
  sampler.accept(3);
  EXPECT_EQ(sampler.sample(logits), 0);
}

TEST(Sampler, DryPenalisesTheTokenThatContinuesARepetition) {
  SamplerOptions o;
  o.temperature = 0;
  o.dry_multiplier = 1;
  o.dry_base = 2;
  Sampler sampler(o);
  for (const TokenId id : {5, 6, 7, 2, 5, 6, 7}) sampler.accept(id);
  // Length 3, one above the allowed: penalty 1 * 2^1.
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 0, 1.9f, 0, 0, 0, 0, 0}), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 0, 2.1f, 0, 0, 0, 0, 0}), 2);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  const std::vector<double> probabilities{0.1, 0.6, 0.05, 0.25};
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  SamplerOptions o = plain();
  o.seed = 7;
  Sampler sampler(o);
  constexpr int kDraws = 40000;
  std::vector<int> counts(4);
  for (int i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(sampler.sample(logits))];
  double chi_square = 0;
  for (size_t i = 0; i < 4; ++i) {
    const double expected = probabilities[i] * kDraws;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 16.27);  // p = 0.001 for 3 degrees of freedom
}

TEST(Sampler, SameSeedSamePositionSameToken) {
  const auto logits = random_logits(1, 500);
  SamplerOptions o;
  o.seed = 42;
  Sampler first(o), second(o);
  Ids tokens;
  for (int i = 0; i < 50; ++i) {
    tokens.push_back(first.sample(logits));
    EXPECT_EQ(second.sample(logits), tokens.back());
  }
  Sampler later(o);
  later.seek(30);
  EXPECT_EQ(later.sample(logits), tokens[30]);
  Sampler fork = first;
  EXPECT_EQ(fork.sample(logits), first.sample(logits));
  o.seed = 43;
  Ids other;
  Sampler reseeded(o), other_stream(first.options(), 1);
  for (int i = 0; i < 50; ++i) other.push_back(reseeded.sample(logits));
  EXPECT_NE(other, tokens);
  other.clear();
  for (int i = 0; i < 50; ++i) other.push_back(other_stream.sample(logits));
  EXPECT_NE(other, tokens);
}

// The default chain, written again from docs/sampling.md without the engine's code.
TokenId default_chain(const std::vector<float>& logits, const SamplerOptions& o, double u) {
  std::vector<std::pair<float, TokenId>>
      sorted;  // negated logits: ascending order is the documented one
  for (size_t i = 0; i < logits.size(); ++i)
    sorted.emplace_back(-logits[i], static_cast<TokenId>(i));
  std::sort(sorted.begin(), sorted.end());
  sorted.resize(std::min<size_t>(sorted.size(), static_cast<size_t>(o.top_k)));
  std::vector<double> weights;
  double sum = 0, cumulative = 0;
  for (const auto& entry : sorted) {
    weights.push_back(std::exp(double{sorted[0].first} - double{entry.first}));
    sum += weights.back();
  }
  size_t count = 0;
  while (count < sorted.size() && cumulative < double{o.top_p} * sum)
    cumulative += weights[count++];
  while (count > 1 && weights[count - 1] < double{o.min_p}) --count;
  sum = cumulative = 0;
  for (size_t i = 0; i < count; ++i) {
    weights[i] =
        std::exp((double{sorted[0].first} - double{sorted[i].first}) / double{o.temperature});
    sum += weights[i];
  }
  for (size_t i = 0; i < count; ++i) {
    cumulative += weights[i];
    if (cumulative > u * sum) return sorted[i].second;
  }
  return sorted[count - 1].second;
}

TEST(Sampler, DefaultChainIsTheDocumentedOne) {
  SamplerOptions o;
  o.seed = 9;
  Sampler sampler(o);
  RandomStream random(9, "sample");
  for (uint64_t round = 0; round < 500; ++round) {
    const auto logits = random_logits(round, 1 + round * 3, 1 + static_cast<double>(round % 9));
    EXPECT_EQ(sampler.sample(logits), default_chain(logits, o, random.next_double())) << round;
  }
}

TEST(Sampler, FiltersNeverChooseWhatTheyDropped) {
  SamplerOptions o = plain();
  o.top_k = 3;
  o.xtc_probability = 1;
  o.xtc_threshold = 0.2f;
  Sampler sampler(o);
  std::set<TokenId> seen;
  const std::vector<float> logits{0, 3, 2.9f, 2.8f, -1, 2.7f};
  for (int i = 0; i < 200; ++i) seen.insert(sampler.sample(logits));
  EXPECT_EQ(seen, (std::set<TokenId>{3}));  // XTC drops 1 and 2, top-k the rest
}

// Among 1024 equal tokens a step has either all of them (10 bits of surprise) or one (0 bits), so a
// mean surprise of 3 bits means that 30% of the steps are drawn from all.
TEST(Sampler, MirostatHoldsTheMeanSurpriseAtTau) {
  SamplerOptions o = plain();
  o.mirostat = 2;
  o.mirostat_tau = 3;
  const std::vector<float> logits(1024, 0.5f);
  Sampler sampler(o);
  int surprising = 0;
  for (int i = 0; i < 4000; ++i) surprising += sampler.sample(logits) != 0;
  EXPECT_NEAR(surprising / 4000.0, 0.3 * 1023 / 1024, 0.01);
}

TEST(Sampler, LogProbability) {
  const auto logits = random_logits(4, 777, 10);
  long double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<long double>(logit));
  double total = 0, surprise = 0;
  for (TokenId id = 0; id < 777; ++id) {
    const double value = log_probability(logits, id);
    surprise -= std::exp(value) * value;
    EXPECT_NEAR(value, static_cast<double>(logits[static_cast<size_t>(id)] - std::log(sum)), 1e-12);
    total += std::exp(value);
  }
  EXPECT_NEAR(total, 1, 1e-12);
  EXPECT_NEAR(entropy(logits), surprise, 1e-12);
  EXPECT_NEAR(entropy(std::vector<float>(64, -2.5f)), std::log(64.0), 1e-12);
  const float forbidden = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(entropy(std::vector<float>{1, forbidden, forbidden}), 0);
}

TEST(Sampler, ValidateNamesTheOption) {
  SamplerOptions o;
  EXPECT_TRUE(validate(o).ok());
  o.top_p = 1.5f;
  ASSERT_FALSE(validate(o).ok());
  EXPECT_EQ(validate(o).error().message, "top-p is 1.5: it must lie between 0 and 1");
  o = {};
  o.temperature = NAN;
  EXPECT_FALSE(validate(o).ok());
  o = {};
  o.mirostat = 1;
  EXPECT_FALSE(validate(o).ok());
  o = {};
  o.logit_bias[3] = INFINITY;
  EXPECT_FALSE(validate(o).ok());
}

}  // namespace
}  // namespace geist::engine
