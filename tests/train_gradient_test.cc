// The gradient of whole models: against differences of an independent loss in double, and against
// itself, byte for byte, however the batch is cut and whatever computes it. The trainer's forward
// pass against the engine's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_model.h"
#include "tests/support/reference_loss.h"
#include "train/gradient.h"

namespace geist::train {
namespace {

using ::testing::HasSubstr;
using testing::random_model;
using testing::Shape;
using Ids = std::vector<text::TokenId>;

Ids random_ids(uint64_t seed, size_t count, uint64_t vocab) {
  RandomStream random(seed, "ids");
  Ids ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random.next_below(vocab)));
  return ids;
}

// Sequences of odd lengths, one longer than a page and one with weights.
struct Data {
  std::vector<Ids> ids;
  std::vector<float> weights;
  std::vector<TrainSequence> sequences;
};
Data some_data(uint64_t vocab) {
  Data data;
  for (const size_t length : {2, 41, 9, 20}) data.ids.push_back(random_ids(length, length, vocab));
  for (size_t i = 0; i + 1 < data.ids[2].size(); ++i)
    data.weights.push_back(i % 3 == 0 ? 0.0f : 0.25f * static_cast<float>(i));
  for (const Ids& ids : data.ids) data.sequences.push_back({ids});
  data.sequences[2].weights = data.weights;
  return data;
}

TrainedModel make_trained(const gguf::File& file, const kernels::Kernels* kernels = nullptr) {
  auto made = TrainedModel::make(file, kernels);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return std::move(made).value();
}

std::vector<float> gradient_of(const TrainedModel& trained, ThreadPool& pool,
                               std::span<const TrainSequence> sequences, size_t at_once,
                               float scale, double* loss = nullptr,
                               const ActivationOptions& activations = {}) {
  auto engine = GradientEngine::make(trained, pool, activations);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  (*engine)->clear();
  for (size_t i = 0; i < sequences.size(); i += at_once) {
    const auto part = sequences.subspan(i, std::min(at_once, sequences.size() - i));
    const auto sums = (*engine)->accumulate(part, scale);
    EXPECT_TRUE(sums.ok());
    if (loss != nullptr) *loss += sums->weighted;
  }
  const auto span = (*engine)->finish().span();
  return {span.begin(), span.end()};
}

class Gradients : public ::testing::TestWithParam<const char*> {};

TEST_P(Gradients, MatchDifferencesOfAnIndependentLossInDouble) {
  const gguf::File file = random_model(GetParam(), kernels::TensorType::kF32, 5);
  const TrainedModel trained = make_trained(file);
  const Data data = some_data(static_cast<uint64_t>(trained.model().config().vocab_size));
  ThreadPool pool(2);
  double loss = 0;
  const float scale = 0.125f;
  const std::vector<float> gradient = gradient_of(trained, pool, data.sequences, 4, scale, &loss);

  testing::Weights weights = testing::read_weights(file);
  const auto reference = [&] {
    double sum = 0;
    for (const TrainSequence& s : data.sequences) {
      std::vector<double> w(s.weights.begin(), s.weights.end());
      if (w.empty()) w.assign(s.ids.size() - 1, 1.0);
      sum += testing::reference_loss(file.metadata(), weights, {s.ids.begin(), s.ids.end()}, w);
    }
    return sum;
  };
  EXPECT_NEAR(loss, reference(), 1e-5 * reference());
  testing::expect_gradient(trained.parameters(), gradient, weights,
                           [&] { return double{scale} * reference(); });
}

TEST_P(Gradients, AreTheSameBitsHoweverTheyAreComputed) {
  const gguf::File file = random_model(GetParam(), kernels::TensorType::kF32, 7, Shape::kRandom);
  std::vector<float> expected;
  for (const auto isa : {kernels::Isa::kAvx512, kernels::Isa::kAvx2, kernels::Isa::kScalar}) {
    const kernels::Kernels* kernels = kernels::kernels_for(isa);
    if (kernels == nullptr) continue;
    const TrainedModel trained = make_trained(file, kernels);
    const Data data = some_data(static_cast<uint64_t>(trained.model().config().vocab_size));
    for (const int threads : {1, 2, 3}) {
      if (isa == kernels::Isa::kScalar && threads != 2) continue;  // slow
      ThreadPool pool(threads);
      const size_t at_once = threads == 1 ? 4 : threads == 2 ? 1 : 2;
      const auto gradient = gradient_of(trained, pool, data.sequences, at_once, 0.5f);
      if (expected.empty()) expected = gradient;
      ASSERT_EQ(gradient.size(), expected.size());
      EXPECT_EQ(0, std::memcmp(gradient.data(), expected.data(), expected.size() * sizeof(float)))
          << kernels->name << " " << threads;
    }
  }
}

TEST_P(Gradients, RunningLayersAgainChangesNoBit) {
  const gguf::File file = random_model(GetParam(), kernels::TensorType::kF32, 7, Shape::kRandom);
  const TrainedModel trained = make_trained(file);
  const Data data = some_data(static_cast<uint64_t>(trained.model().config().vocab_size));
  ThreadPool pool(2);
  double loss = 0, again_loss = 0;
  const auto expected = gradient_of(trained, pool, data.sequences, 2, 0.5f, &loss);
  // The second pass of an engine has its memory in one piece, the first has not.
  const auto again =
      gradient_of(trained, pool, data.sequences, 2, 0.5f, &again_loss, {.recompute = true});
  EXPECT_EQ(loss, again_loss);
  ASSERT_EQ(again.size(), expected.size());
  EXPECT_EQ(0, std::memcmp(again.data(), expected.data(), expected.size() * sizeof(float)));
}

double distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / size);
}

// Rounded activations: near the gradient, the same loss, and one result everywhere.
TEST_P(Gradients, OfActivationsIn16BitsAreNearAndTheSameEverywhere) {
  const gguf::File file = random_model(GetParam(), kernels::TensorType::kF32, 7, Shape::kRandom);
  const TrainedModel whole = make_trained(file);
  const Data data = some_data(static_cast<uint64_t>(whole.model().config().vocab_size));
  ThreadPool two(2);
  double loss = 0;
  const auto exact = gradient_of(whole, two, data.sequences, 4, 0.5f, &loss);
  for (const auto type : {kernels::TensorType::kBF16, kernels::TensorType::kF16}) {
    for (const bool recompute : {false, true}) {
      std::vector<float> expected;
      for (const auto isa : {kernels::Isa::kAvx512, kernels::Isa::kAvx2, kernels::Isa::kScalar}) {
        const kernels::Kernels* kernels = kernels::kernels_for(isa);
        if (kernels == nullptr) continue;
        const TrainedModel trained = make_trained(file, kernels);
        ThreadPool pool(isa == kernels::Isa::kAvx2 ? 3 : 2);
        const size_t at_once = isa == kernels::Isa::kAvx2 ? 1 : 4;
        double rounded_loss = 0;
        const auto gradient = gradient_of(trained, pool, data.sequences, at_once, 0.5f,
                                          &rounded_loss, {.recompute = recompute, .type = type});
        EXPECT_NEAR(loss, rounded_loss, 1e-9 * loss);  // the sums of parts, in double
        if (expected.empty()) expected = gradient;
        ASSERT_EQ(gradient.size(), expected.size());
        EXPECT_EQ(0, std::memcmp(gradient.data(), expected.data(), expected.size() * sizeof(float)))
            << kernels->name;
      }
      const double far = distance(expected, exact);
      EXPECT_GT(far, 0);
      EXPECT_LT(far, type == kernels::TensorType::kBF16 ? 2e-2 : 2e-3);
    }
  }
}

// Rollout and trainer: the KL of two equal models is 0 exactly.
TEST_P(Gradients, LogProbabilitiesAreTheEnginesToTheBit) {
  const gguf::File file = random_model(GetParam(), kernels::TensorType::kF32, 9);
  const TrainedModel trained = make_trained(file);
  const Data data = some_data(static_cast<uint64_t>(trained.model().config().vocab_size));
  ThreadPool pool(2);
  std::vector<double> rollout;
  for (const TrainSequence& s : data.sequences) {
    engine::Runner runner(trained.model(), pool);
    engine::Session session(trained.model(), {});
    ASSERT_TRUE(session.append(s.ids.first(1)).ok());
    for (size_t i = 1; i < s.ids.size(); ++i) {  // a token at a time, as a rollout goes
      runner.pass(session);
      if (s.weights.empty() || s.weights[i - 1] != 0.0f)
        rollout.push_back(engine::log_probability(session.logits(), s.ids[i]));
      ASSERT_TRUE(session.append(s.ids.subspan(i, 1)).ok());
    }
  }
  auto engine = GradientEngine::make(trained, pool);
  ASSERT_TRUE(engine.ok());
  RowOutputs outputs;
  ASSERT_TRUE((*engine)->evaluate(data.sequences, &outputs).ok());
  const std::vector<double>& trainer = outputs.log_probabilities;
  ASSERT_EQ(trainer.size(), rollout.size());
  EXPECT_EQ(0, std::memcmp(trainer.data(), rollout.data(), rollout.size() * sizeof(double)));
}

INSTANTIATE_TEST_SUITE_P(Models, Gradients,
                         ::testing::Values("llama", "llama-bias", "qwen2", "gpt2"));

TEST(GradientEngine, RefusesWhatItCannotTakeBack) {
  ThreadPool pool(1);
  const TrainedModel moe = make_trained(random_model("mixtral", kernels::TensorType::kF32, 1));
  const auto made = GradientEngine::make(moe, pool);
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr("mixture of experts"));
}

TEST(GradientEngine, RefusesTokensOutsideTheModel) {
  ThreadPool pool(1);
  const TrainedModel trained = make_trained(random_model("gpt2", kernels::TensorType::kF32, 1));
  auto engine = GradientEngine::make(trained, pool);
  ASSERT_TRUE(engine.ok());
  for (const Ids& ids : {Ids{1, 9999}, Ids{-1, 1}, Ids{1}, Ids(300, 1)}) {
    const TrainSequence sequence{ids};
    EXPECT_FALSE((*engine)->accumulate({&sequence, 1}, 1.0f).ok());
  }
}

}  // namespace
}  // namespace geist::train
