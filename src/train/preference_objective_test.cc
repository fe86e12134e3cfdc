// Answers that count upwards are preferred to answers that count downwards.
#include "train/preference_objective.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <deque>
#include <filesystem>

#include "train/train_test_support.h"
#include "train/trainer.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

struct Pairs {
  struct Answer {
    std::vector<text::TokenId> ids;
    std::vector<float> weights;
  };
  std::deque<Answer> answers;
  std::vector<AnswerPair> pairs;

  TrainSequence add(int32_t start, int32_t prompt, int32_t length, int32_t step) {
    Answer& a = answers.emplace_back();
    for (int32_t i = 0; i < prompt; ++i) a.ids.push_back(start);
    for (int32_t i = 1; i <= length; ++i) a.ids.push_back((start + step * i + 40) % 40);
    for (int32_t i = 1; i < prompt + length; ++i) a.weights.push_back(i >= prompt ? 1.0f : 0.0f);
    return {a.ids, a.weights};
  }
  Pairs(uint64_t seed, int count) {
    RandomStream random(seed, "pairs");
    for (int i = 0; i < count; ++i) {
      const auto start = static_cast<int32_t>(random.next_below(40));
      const auto draw = [&](uint64_t n) { return static_cast<int32_t>(1 + random.next_below(n)); };
      const int32_t prompt = draw(5);
      const TrainSequence up = add(start, prompt, draw(7), 1),
                          down = add(start, prompt, draw(7), -1);
      pairs.push_back({up, down});
    }
  }
};

struct Outcome {
  std::string hash;
  std::vector<double> margins;  // held out
  double accuracy = 0, first_loss = 0;
};

class Preferences : public ::testing::TestWithParam<PreferenceKind> {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("geist_preference_test_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  struct Setup {
    const char* folder = "run";
    int threads = 2;
    int64_t at_once = 3, steps = 4, stop_after = 1000;
    const kernels::Kernels* kernels = nullptr;
  };
  Outcome train(const Setup& setup) {
    ThreadPool pool(setup.threads);
    TrainedModel trained = small_model(setup.kernels);
    const TrainedModel reference = small_model(setup.kernels);
    const Pairs data(1, 60), held_out(2, 20);
    const PreferenceOptions options{.kind = GetParam(), .batch = 8, .at_once = setup.at_once};
    auto objective =
        must(PreferenceObjective::make(options, reference, data.pairs, held_out.pairs, pool));
    OptimizerOptions adam{.learning_rate = 0.003};
    adam.schedule = {.steps = setup.steps, .warmup_steps = 2};
    Optimizer optimizer = must(Optimizer::make(trained, adam, pool));
    Outcome out;
    const auto observer = [&](const TrainEvent& e) {
      if (e.kind == TrainEvent::Kind::kStep && e.step == 1) out.first_loss = e.loss;
      if (e.kind == TrainEvent::Kind::kValidation) {
        out.margins.push_back(e.metrics[0].second);
        out.accuracy = e.metrics[1].second;
      }
      return e.step < setup.stop_after;
    };
    const auto result = run_training(trained, optimizer, *objective,
                                     {.optimizer = adam,
                                      .validate_every = 10,
                                      .checkpoint_every = 2,
                                      .folder = (folder_ / setup.folder).string(),
                                      .recipe_hash = "r"},
                                     pool, observer);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    out.hash = trained.hash();
    return out;
  }
  fs::path folder_;
};

TEST_P(Preferences, RaiseTheMarginOfPairsThatWereHeldOut) {
  const Outcome out = train({.steps = 40});
  ASSERT_EQ(out.margins.size(), 4u);
  EXPECT_GT(out.margins[0], 0);
  EXPECT_GT(out.margins.back(), out.margins[0]);
  EXPECT_GE(out.accuracy, 0.95);
  // Policy and reference begin as one: every implicit reward is 0 to the bit.
  const double first[] = {0.6931471805599453, 25.0, 0.5};
  EXPECT_DOUBLE_EQ(out.first_loss, first[static_cast<int>(GetParam())]);
}

TEST_P(Preferences, GiveTheSameWeightsHoweverTheyAreLearned) {
  const std::string whole = train({}).hash;
  EXPECT_EQ(train({.folder = "one", .threads = 1, .at_once = 1}).hash, whole);
  EXPECT_EQ(train({.folder = "three", .threads = 3, .at_once = 8}).hash, whole);
  for (const auto isa : {kernels::Isa::kScalar, kernels::Isa::kAvx2}) {
    const kernels::Kernels* kernels = kernels::kernels_for(isa);
    if (kernels == nullptr) continue;
    EXPECT_EQ(train({.folder = kernels->name.data(), .kernels = kernels}).hash, whole)
        << kernels->name;
  }
  EXPECT_NE(train({.folder = "stopped", .stop_after = 3}).hash, whole);
  EXPECT_EQ(train({.folder = "stopped", .threads = 1}).hash, whole);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Preferences,
                         ::testing::Values(PreferenceKind::kDpo, PreferenceKind::kIpo,
                                           PreferenceKind::kKto),
                         [](const auto& kind) -> std::string {
                           return kind.param == PreferenceKind::kDpo   ? "Dpo"
                                  : kind.param == PreferenceKind::kIpo ? "Ipo"
                                                                       : "Kto";
                         });

}  // namespace
}  // namespace geist::train
