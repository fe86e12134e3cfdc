// Adapters in training: the trainer's log-probabilities against the engine's with the saved
// adapter, to the bit and on bases of any type; gradients against differences of a merged model's
// independent loss in double; the same bits however they are computed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/rng.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_model.h"
#include "tests/support/reference_loss.h"
#include "train/gradient.h"
#include "train/trainer.h"

namespace geist::train {
namespace {

using kernels::TensorType;
using ::testing::HasSubstr;
using Ids = std::vector<text::TokenId>;

constexpr uint64_t kSeed = 3;

LoraOptions options_for(const std::string& variant) {
  LoraOptions o{.rank = 5, .alpha = 7};
  if (variant == "gpt2") o.targets = {"attn_qkv", "attn_output", "ffn_up", "ffn_down"};
  return o;
}

// With B other than 0, as after some steps.
TrainedModel make_adapter(const std::string& variant, TensorType type,
                          const kernels::Kernels* kernels = nullptr) {
  auto made = TrainedModel::make_adapter(testing::random_model(variant, type, 7),
                                         options_for(variant), kSeed, kernels);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  for (const Parameter& p : made->parameters()) {
    if (!p.name.ends_with(".lora_b")) continue;
    RandomStream random(9, p.name);
    for (int64_t i = 0; i < p.count; ++i)
      made->weights().data()[p.offset + i] = static_cast<float>(random.next_double() * 0.2 - 0.1);
  }
  return std::move(made).value();
}

struct Data {
  std::vector<Ids> ids;
  std::vector<float> weights;
  std::vector<TrainSequence> sequences;
};
Data some_data(uint64_t vocab) {
  Data data;
  for (const size_t length : {2, 37, 9}) {
    RandomStream random(length, "ids");
    data.ids.emplace_back();
    for (size_t i = 0; i < length; ++i)
      data.ids.back().push_back(static_cast<int32_t>(random.next_below(vocab)));
  }
  for (size_t i = 0; i + 1 < data.ids[2].size(); ++i)
    data.weights.push_back(i % 3 == 0 ? 0.0f : 1.0f);
  for (const Ids& ids : data.ids) data.sequences.push_back({.ids = ids});
  data.sequences[2].weights = data.weights;
  return data;
}
Data data_for(const TrainedModel& trained) {
  return some_data(static_cast<uint64_t>(trained.model().config().vocab_size));
}

std::vector<float> gradient_of(const TrainedModel& trained, ThreadPool& pool,
                               std::span<const TrainSequence> sequences, size_t at_once,
                               float scale) {
  auto engine = GradientEngine::make(trained, pool);
  EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
  (*engine)->clear();
  for (size_t i = 0; i < sequences.size(); i += at_once) {
    const auto part = sequences.subspan(i, std::min(at_once, sequences.size() - i));
    EXPECT_TRUE((*engine)->accumulate(part, scale).ok());
  }
  const auto span = (*engine)->finish().span();
  return {span.begin(), span.end()};
}

class TrainedAdapter : public ::testing::TestWithParam<const char*> {};

// W + alpha / rank * B A for every matrix that has an adapter.
testing::Weights merged(const testing::Weights& base, const testing::Weights& adapter,
                        const TrainedModel& trained, double factor) {
  testing::Weights out = base;
  for (const Parameter& p : trained.parameters()) {
    if (!p.name.ends_with(".lora_a")) continue;
    const std::string name = p.name.substr(0, p.name.size() - 7);
    const auto inputs = static_cast<size_t>(p.dims[0]), rank = static_cast<size_t>(p.dims[1]);
    const std::vector<double>&a = adapter.at(p.name), &b = adapter.at(name + ".lora_b");
    std::vector<double>& w = out.at(name);
    for (size_t r = 0; r < w.size() / inputs; ++r)
      for (size_t k = 0; k < rank; ++k)
        for (size_t c = 0; c < inputs; ++c)
          w[r * inputs + c] += factor * b[r * rank + k] * a[k * inputs + c];
  }
  return out;
}

TEST_P(TrainedAdapter, GradientMatchesDifferencesOfAMergedModelsLoss) {
  const TrainedModel trained = make_adapter(GetParam(), TensorType::kF32);
  const Data data = data_for(trained);
  ThreadPool pool(2);
  const float scale = 0.125f;
  const std::vector<float> gradient = gradient_of(trained, pool, data.sequences, 4, scale);
  const gguf::File& file = trained.model().file();
  const testing::Weights base = testing::read_weights(file);
  testing::Weights adapter;
  for (const Parameter& p : trained.parameters()) {
    const float* at = trained.weights().data() + p.offset;
    adapter[p.name] = {at, at + p.count};
  }
  const auto reference = [&] {
    const testing::Weights weights = merged(base, adapter, trained, 7.0 / 5.0);
    double sum = 0;
    for (const TrainSequence& s : data.sequences) {
      std::vector<double> w(s.weights.begin(), s.weights.end());
      if (w.empty()) w.assign(s.ids.size() - 1, 1.0);
      sum += testing::reference_loss(file.metadata(), weights, {s.ids.begin(), s.ids.end()}, w);
    }
    return double{scale} * sum;
  };
  testing::expect_gradient(trained.parameters(), gradient, adapter, reference);
}

INSTANTIATE_TEST_SUITE_P(Models, TrainedAdapter, ::testing::Values("llama", "qwen2", "gpt2"));

TEST(TrainedAdapterBits, GradientsAreTheSameHoweverTheyAreComputed) {
  for (const TensorType type : {TensorType::kF32, TensorType::kQ4_K, TensorType::kQ8_0}) {
    std::vector<float> expected;
    for (const auto isa : {kernels::Isa::kAvx512Vnni, kernels::Isa::kAvx512, kernels::Isa::kAvx2,
                           kernels::Isa::kScalar}) {
      const kernels::Kernels* kernels = kernels::kernels_for(isa);
      if (kernels == nullptr) continue;
      const TrainedModel trained = make_adapter("llama", type, kernels);
      const Data data = data_for(trained);
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
}

// What the trainer computes is what `geist run --lora` computes with the file that it writes.
TEST(TrainedAdapterBits, LogProbabilitiesAreTheEnginesWithTheSavedAdapter) {
  namespace fs = std::filesystem;
  const fs::path path =
      fs::temp_directory_path() / ("geist_train_lora_" + std::to_string(::getpid()) + ".gguf");
  ThreadPool pool(2);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kQ8_0,
                                TensorType::kQ5_1, TensorType::kQ4_K, TensorType::kQ6_K}) {
    const TrainedModel trained = make_adapter("llama", type);
    const Data data = data_for(trained);
    ASSERT_TRUE(trained.save(path.string(), trained.weights()).ok());

    const auto base = model::Model::load(testing::random_model("llama", type, 7));
    ASSERT_TRUE(base.ok());
    auto file = gguf::File::open(path.string());
    ASSERT_TRUE(file.ok());
    EXPECT_TRUE(model::is_adapter_file(*file));
    const auto adapter = model::LoraAdapter::load(std::move(*file), **base);
    ASSERT_TRUE(adapter.ok()) << adapter.error().message;
    const auto set = std::make_shared<const model::AdapterSet>(
        std::vector{model::AdapterSet::Member{*adapter, 1.0f}});
    std::vector<double> rollout, without;
    for (const TrainSequence& s : data.sequences) {
      for (const bool adapted : {true, false}) {
        engine::Runner runner(**base, pool);
        engine::Session session(**base, {.adapters = adapted ? set : nullptr});
        ASSERT_TRUE(session.append(s.ids.first(1)).ok());
        for (size_t i = 1; i < s.ids.size(); ++i) {  // a token at a time, as a rollout goes
          runner.pass(session);
          if (s.weights.empty() || s.weights[i - 1] != 0.0f)
            (adapted ? rollout : without)
                .push_back(engine::log_probability(session.logits(), s.ids[i]));
          ASSERT_TRUE(session.append(s.ids.subspan(i, 1)).ok());
        }
      }
    }
    auto engine = GradientEngine::make(trained, pool);
    ASSERT_TRUE(engine.ok());
    RowOutputs outputs;
    ASSERT_TRUE((*engine)->evaluate(data.sequences, &outputs).ok());
    const std::vector<double>& trainer = outputs.log_probabilities;
    ASSERT_EQ(trainer.size(), rollout.size());
    EXPECT_EQ(0, std::memcmp(trainer.data(), rollout.data(), rollout.size() * sizeof(double)));
    EXPECT_NE(rollout, without) << "the adapter does nothing";
  }
  fs::remove(path);
}

// Whole runs beside a quantised base: threads, instruction sets and a stop in between change no
// byte.
TEST(TrainedAdapterBits, RunsEndInTheSameAdapter) {
  namespace fs = std::filesystem;
  const fs::path root =
      fs::temp_directory_path() / ("geist_train_lora_run_" + std::to_string(::getpid()));
  fs::remove_all(root);
  const auto run = [&](const std::string& name, const kernels::Kernels* kernels, int threads,
                       int64_t stop_after) {
    TrainedModel trained = make_adapter("llama", TensorType::kQ4_K, kernels);
    const Data data = data_for(trained);
    const TrainSource source{.row = [&](int64_t row, auto* out) {
      out->push_back(data.sequences[static_cast<size_t>(row) % data.sequences.size()]);
    }};
    ThreadPool pool(threads);
    OptimizerOptions options{.learning_rate = 0.01};
    options.schedule = {.steps = 4};
    auto optimizer = Optimizer::make(trained, options, pool);
    EXPECT_TRUE(optimizer.ok());
    const auto result =
        run_training(trained, *optimizer, source,
                     {.optimizer = options,
                      .batch_rows = 2,
                      .folder = (root / name).string(),
                      .recipe_hash = "r"},
                     pool, [&](const TrainEvent& event) { return event.step < stop_after; });
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return trained.hash();
  };
  const std::string whole = run("whole", nullptr, 2, 100);
  EXPECT_NE(run("stopped", nullptr, 1, 2), whole);
  EXPECT_EQ(run("stopped", nullptr, 3, 100), whole);
  for (const auto isa : {kernels::Isa::kScalar, kernels::Isa::kAvx2, kernels::Isa::kAvx512}) {
    const kernels::Kernels* kernels = kernels::kernels_for(isa);
    if (kernels != nullptr) {
      EXPECT_EQ(run(std::string(kernels->name), kernels, 2, 100), whole) << kernels->name;
    }
  }
  // A checkpoint is an adapter that the engine takes.
  const auto base = model::Model::load(testing::random_model("llama", TensorType::kQ4_K, 7));
  auto file = gguf::File::open((root / "whole/checkpoints/step-00000004.gguf").string());
  ASSERT_TRUE(base.ok() && file.ok());
  const auto adapter = model::LoraAdapter::load(std::move(*file), **base);
  EXPECT_TRUE(adapter.ok()) << adapter.error().message;
  fs::remove_all(root);
}

TEST(TrainedAdapterFaults, NameWhatTheModelHas) {
  const auto make = [](const std::string& variant, LoraOptions options) {
    const auto made = TrainedModel::make_adapter(
        testing::random_model(variant, TensorType::kF32, 1), options, kSeed);
    return made.ok() ? std::string("no error") : made.error().message;
  };
  EXPECT_THAT(make("llama", {.targets = {"attn_q", "attn_qq"}}),
              HasSubstr("no layer has a matrix 'attn_qq'"));
  EXPECT_THAT(make("llama", {.targets = {"attn_qq"}}), HasSubstr("ffn_up"));
  EXPECT_THAT(make("gpt2", {}), HasSubstr("there are attn_output, attn_qkv, ffn_down, ffn_up"));
  ThreadPool pool(1);
  const auto moe = TrainedModel::make_adapter(testing::random_model("mixtral", TensorType::kF32, 1),
                                              {.targets = {"attn_q"}}, kSeed);
  ASSERT_TRUE(moe.ok());
  const auto engine = GradientEngine::make(*moe, pool);
  ASSERT_FALSE(engine.ok());
  EXPECT_THAT(engine.error().message, HasSubstr("mixture of experts"));
}

}  // namespace
}  // namespace geist::train
