// Whole runs of reinforcement learning on a toy: tokens below 8 are rewarded, whatever is asked.
#include "train/policy_objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "train/train_test_support.h"
#include "train/trainer.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr int32_t kAnswer = 6;

Result<Task> some_task(int64_t index) {
  RandomStream random(5, "task " + std::to_string(index));
  Task task;
  const uint64_t length = 1 + random.next_below(20);
  for (uint64_t i = 0; i < length; ++i)
    task.prompt.push_back(static_cast<int32_t>(random.next_below(40)));
  return task;
}

std::vector<double> share_below(std::span<const Answered> answers, int32_t limit) {
  std::vector<double> rewards;
  for (const Answered& a : answers) {
    int right = 0;
    for (const text::TokenId id : a.rollout->answer()) right += id < limit ? 1 : 0;
    rewards.push_back(static_cast<double>(right) / kAnswer);
  }
  return rewards;
}

TrainedModel policy(bool valued, const kernels::Kernels* kernels = nullptr) {
  ModelShape shape{.layers = 2, .width = 32, .heads = 4};
  shape.kv_heads = 2;
  shape.context = 48;
  gguf::File file = must(new_model(shape, number_tokenizer(40), 3));
  if (valued) file = must(with_scalar_head(std::move(file), kValueHead));
  return must(TrainedModel::make(file, kernels));
}

// Nothing ends an answer but its length.
text::Tokenizer number_words() {
  text::Vocabulary vocabulary;
  for (int i = 0; i < 40; ++i) vocabulary.tokens.push_back("t" + std::to_string(i));
  return must(text::Tokenizer::create(std::move(vocabulary)));
}

class Policy : public ::testing::TestWithParam<PolicyKind> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("geist_policy_test_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  struct Setup {
    const char* folder = "run";
    int threads = 2;
    int64_t at_once = 16, rows_at_once = 5, steps = 3, stop_after = 1000;
    const kernels::Kernels* kernels = nullptr;
    double kl_budget = 0;
  };
  struct Outcome {
    Result<TrainResult> result = errorf("not run");
    std::string hash;
    std::vector<Metrics> steps, validations;
    double of(size_t step, std::string_view name) const {
      for (const auto& [key, value] : steps.at(step))
        if (key == name) return value;
      ADD_FAILURE() << name;
      return 0;
    }
  };

  Outcome train(const Setup& setup) {
    ThreadPool pool(setup.threads);
    const bool valued = GetParam() == PolicyKind::kPpo;
    TrainedModel trained = policy(valued, setup.kernels);
    const TrainedModel reference = policy(false, setup.kernels);
    const text::Tokenizer tokenizer = number_words();
    PolicyOptions options{.kind = GetParam(), .tasks = 4, .group = 8, .epochs = 2};
    options.minibatches = 2;
    options.rows_at_once = setup.rows_at_once;
    options.rollout = {.tokens_max = kAnswer, .at_once = setup.at_once};
    options.kl_budget = setup.kl_budget;
    options.kl_target = valued ? 1 : 0;
    options.held_out = 6;
    PolicyEnvironment environment;
    environment.tasks = some_task;
    environment.held_out = [](int64_t i) { return some_task(1000000 + i); };
    environment.reward = [](auto answers) { return share_below(answers, 8); };
    environment.gold = [](auto answers) { return share_below(answers, 20); };
    auto objective =
        must(PolicyObjective::make(options, trained, reference, tokenizer, environment, pool));
    OptimizerOptions adam{.learning_rate = 0.003, .weight_decay = 0};
    adam.schedule = {.kind = ScheduleKind::kConstant, .steps = setup.steps * options.updates()};
    Optimizer optimizer = must(Optimizer::make(trained, adam, pool));
    Outcome out;
    const auto observer = [&](const TrainEvent& e) {
      if (e.kind == TrainEvent::Kind::kStep) out.steps.push_back(e.metrics);
      if (e.kind == TrainEvent::Kind::kValidation) out.validations.push_back(e.metrics);
      return e.step < setup.stop_after;
    };
    out.result = run_training(trained, optimizer, *objective,
                              {.optimizer = adam,
                               .updates_per_step = options.updates(),
                               .validate_first = true,
                               .folder = (folder_ / setup.folder).string(),
                               .recipe_hash = "r"},
                              pool, observer);
    EXPECT_TRUE(out.result.ok()) << (out.result.ok() ? "" : out.result.error().message);
    out.hash = trained.hash();
    return out;
  }
  fs::path folder_;
};

TEST_P(Policy, RaisesTheReward) {
  const Outcome out = train({.steps = 20});
  ASSERT_EQ(out.steps.size(), 20u);
  // Policy and reference begin as one: no divergence, to the bit.
  EXPECT_EQ(out.of(0, "kl"), 0.0);
  EXPECT_GT(out.of(19, "kl"), 0.0);
  EXPECT_NEAR(out.of(0, "entropy"), 3.68, 0.02);  // log(40) but for the first weights
  EXPECT_EQ(out.of(0, "length"), kAnswer);
  // Of 192 tokens, exactly so many: every number of a run is reproducible.
  const double last[] = {159, 175, 171};
  EXPECT_DOUBLE_EQ(out.of(0, "reward") * 192, 39);
  EXPECT_DOUBLE_EQ(out.of(19, "reward") * 192, last[static_cast<int>(GetParam())]);
  ASSERT_EQ(out.validations.size(), 2u);
  EXPECT_GT(out.validations[1][0].second, out.validations[0][0].second);
  EXPECT_GT(out.validations[1][1].second, out.validations[0][1].second);  // the gold reward
}

TEST_P(Policy, GivesTheSameWeightsHoweverItIsLearned) {
  const std::string whole = train({}).hash;
  EXPECT_EQ(train({.folder = "one", .threads = 1, .at_once = 1, .rows_at_once = 1}).hash, whole);
  EXPECT_EQ(train({.folder = "three", .threads = 3, .at_once = 3, .rows_at_once = 32}).hash, whole);
  for (const auto isa : {kernels::Isa::kScalar, kernels::Isa::kAvx2}) {
    const kernels::Kernels* kernels = kernels::kernels_for(isa);
    if (kernels == nullptr) continue;
    EXPECT_EQ(train({.folder = kernels->name.data(), .kernels = kernels}).hash, whole)
        << kernels->name;
  }
  EXPECT_NE(train({.folder = "stopped", .stop_after = 2}).hash, whole);
  EXPECT_EQ(train({.folder = "stopped", .threads = 1}).hash, whole);
}

TEST_P(Policy, EndsWhereTheBudgetOfDivergenceIsSpent) {
  const Outcome out = train({.steps = 30, .kl_budget = 0.5});
  ASSERT_TRUE(out.result.ok());
  EXPECT_THAT(out.result->stopped, HasSubstr("over the budget of 0.5"));
  EXPECT_TRUE(out.result->finished);
  ASSERT_LT(out.steps.size(), 30u);
  ASSERT_GT(out.steps.size(), 1u);
  for (size_t i = 0; i < out.steps.size(); ++i) EXPECT_LE(out.of(i, "kl"), 0.5);
  // Again: from its checkpoint, to the same end, without another step.
  const Outcome again = train({.steps = 30, .kl_budget = 0.5});
  EXPECT_TRUE(again.steps.empty());
  EXPECT_EQ(again.hash, out.hash);
  EXPECT_EQ(again.result->stopped, out.result->stopped);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Policy,
                         ::testing::Values(PolicyKind::kPpo, PolicyKind::kGrpo, PolicyKind::kRloo),
                         [](const auto& kind) -> std::string {
                           return kind.param == PolicyKind::kPpo    ? "Ppo"
                                  : kind.param == PolicyKind::kGrpo ? "Grpo"
                                                                    : "Rloo";
                         });

// One definition of the model: what the engine gave while it answered, the trainer gives to the
// bit.
TEST(Rollouts, HaveTheTrainersLogProbabilitiesToTheBit) {
  const TrainedModel trained = policy(false);
  const text::Tokenizer tokenizer = number_words();
  std::vector<std::vector<text::TokenId>> prompts;
  for (int64_t i = 0; i < 3; ++i) prompts.push_back(must(some_task(i)).prompt);
  std::vector<Rollout> first;
  for (const int64_t at_once : {1, 3, 8}) {
    ThreadPool pool(static_cast<int>(at_once % 3) + 1);
    RolloutMaker maker(trained.model(), tokenizer, pool, {.tokens_max = 9, .at_once = at_once});
    const std::vector<Rollout> rollouts = must(maker.make(prompts, 4, 77));
    ASSERT_EQ(rollouts.size(), 12u);
    std::vector<std::vector<float>> weights;
    std::vector<TrainSequence> sequences;
    for (const Rollout& r : rollouts) {
      weights.emplace_back(r.ids.size() - 1, 0.0f);
      std::fill(weights.back().begin() + r.prompt - 1, weights.back().end(), 1.0f);
    }
    for (size_t i = 0; i < rollouts.size(); ++i) sequences.push_back({rollouts[i].ids, weights[i]});
    auto engine = must(GradientEngine::make(trained, pool));
    for (const size_t rows : {1, 5, 12}) {
      for (size_t i = 0; i < sequences.size(); i += rows) {
        const size_t n = std::min(rows, sequences.size() - i);
        RowOutputs out;
        ASSERT_TRUE(engine->evaluate(std::span(sequences).subspan(i, n), &out).ok());
        size_t at = 0;
        for (size_t j = i; j < i + n; ++j) {
          const auto& logs = rollouts[j].log_probabilities;
          ASSERT_EQ(logs.size(), 9u);
          EXPECT_EQ(0, std::memcmp(logs.data(), out.log_probabilities.data() + at,
                                   logs.size() * sizeof(double)));
          at += logs.size();
        }
        EXPECT_EQ(at, out.log_probabilities.size());
      }
    }
    if (first.empty()) first = rollouts;
    for (size_t i = 0; i < rollouts.size(); ++i) {
      EXPECT_EQ(rollouts[i].ids, first[i].ids);
      EXPECT_EQ(rollouts[i].log_probabilities, first[i].log_probabilities);
      EXPECT_EQ(rollouts[i].entropy, first[i].entropy);
    }
  }
  EXPECT_NE(first[0].ids, first[1].ids);  // a group's answers are drawn apart
}

TEST(Rollouts, SayWhichPromptIsTooLong) {
  ThreadPool pool(1);
  const TrainedModel trained = policy(false);
  const text::Tokenizer tokenizer = number_words();
  RolloutMaker maker(trained.model(), tokenizer, pool, {});
  const std::vector<std::vector<text::TokenId>> prompts = {std::vector<text::TokenId>(48, 1)};
  const auto made = maker.make(prompts, 1, 0);
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr("48"));
}

}  // namespace
}  // namespace geist::train
