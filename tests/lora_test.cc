// Adapters applied at run time: near a merged model's logits (the order of sums differs, so not
// equal), and the same bytes over chunks, threads, instruction sets and company in a batch.
#include "model/lora.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/rng.h"
#include "kernels/block.h"
#include "model/model.h"
#include "tests/support/random_model.h"
#include "tests/support/run_model.h"

namespace geist {
namespace {

using kernels::TensorType;
using model::AdapterSet;
using model::LoraAdapter;
using model::LoraMatrices;
using model::Model;
using ::testing::HasSubstr;
using Ids = std::vector<text::TokenId>;
using SetPtr = std::shared_ptr<const AdapterSet>;

constexpr float kAlpha = 12;

std::unique_ptr<Model> load(const std::string& variant, TensorType type,
                            const kernels::Kernels* kernels = nullptr) {
  auto loaded = Model::load(testing::random_model(variant, type, 7), {.kernels = kernels});
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message);
  return std::move(loaded).value();
}

// A pair for every matrix that takes one.
std::vector<LoraMatrices> random_pairs(const gguf::File& base, uint64_t seed) {
  RandomStream random(seed, "lora");
  std::vector<LoraMatrices> out;
  for (const gguf::Tensor& t : base.tensors()) {
    if (t.dims.size() != 2 || t.name.starts_with("position_embd")) continue;
    if (t.name.starts_with("token_types")) continue;
    LoraMatrices m{
        t.name, 1 + static_cast<int64_t>(random.next_below(18)), t.dims[0], t.dims[1], {}, {}};
    if (t.name == "token_embd.weight") std::swap(m.inputs, m.outputs);
    m.a.resize(static_cast<size_t>(m.rank * m.inputs));
    m.b.resize(static_cast<size_t>(m.rank * m.outputs));
    for (auto* values : {&m.a, &m.b})
      for (float& v : *values) v = static_cast<float>((random.next_double() * 2 - 1) * 0.06);
    out.push_back(std::move(m));
  }
  return out;
}

// As an adapter file in memory whose tensors have this type.
gguf::File adapter_file(const std::string& architecture, const std::vector<LoraMatrices>& pairs,
                        TensorType type) {
  auto bytes = std::make_shared<std::vector<std::vector<std::byte>>>();
  std::vector<gguf::Tensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> dims,
                       const std::vector<float>& values) {
    const int64_t size = kernels::tensor_type_info(type).block_bytes;
    std::vector<std::byte>& data = bytes->emplace_back(values.size() * static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t half = type == TensorType::kF16 ? kernels::f32_to_f16(values[i])
                                                     : kernels::f32_to_bf16(values[i]);
      const void* from = type == TensorType::kF32 ? static_cast<const void*>(&values[i]) : &half;
      std::memcpy(data.data() + i * static_cast<size_t>(size), from, static_cast<size_t>(size));
    }
    tensors.push_back({name, type, std::move(dims), data});
  };
  for (const LoraMatrices& m : pairs) {
    const bool embedding = m.tensor == "token_embd.weight";  // looked up: [vocabulary, rank]
    add(m.tensor + ".lora_a",
        embedding ? std::vector{m.rank, m.inputs} : std::vector{m.inputs, m.rank}, m.a);
    add(m.tensor + ".lora_b", {m.rank, m.outputs}, m.b);
  }
  return gguf::File::assemble(model::lora_metadata(architecture, kAlpha), std::move(tensors), bytes,
                              "adapter.gguf");
}

std::shared_ptr<const LoraAdapter> adapter_of(const Model& m, uint64_t seed,
                                              TensorType type = TensorType::kF32) {
  auto loaded = LoraAdapter::load(
      adapter_file(m.config().architecture, random_pairs(m.file(), seed), type), m);
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message);
  return loaded.ok() ? *loaded : nullptr;
}

SetPtr make_set(std::vector<AdapterSet::Member> members) {
  return std::make_shared<const AdapterSet>(std::move(members));
}

Ids random_ids(RandomStream& random, size_t count) {
  Ids ids(count);
  for (auto& id : ids) id = static_cast<text::TokenId>(random.next_below(288));
  return ids;
}

// One sequence of a batch in the making, with the rows it has got.
struct Track {
  Ids ids;
  const AdapterSet* set = nullptr;
  model::Sequence sequence = {};
  size_t done = 0;
  std::vector<float> rows = {};
};

// Computes all tracks together, as many tokens of each at a time as `take` says, shuffled.
void run(const Model& m, std::vector<Track*> tracks, ThreadPool& pool, RandomStream& random,
         const std::function<size_t(size_t left)>& take) {
  const auto workspace = Model::make_workspace();
  const auto width = static_cast<size_t>(testing::output_width(m));
  const auto left = [](const Track* t) { return t->ids.size() - t->done; };
  while (std::any_of(tracks.begin(), tracks.end(), left)) {
    std::vector<Track*> order;
    for (Track* t : tracks) {
      const size_t count = std::min(take(left(t)), left(t));
      model::reserve(m.config(), t->sequence, static_cast<int32_t>(count));
      order.insert(order.end(), count, t);
    }
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.next_below(i)]);
    std::vector<model::BatchToken> batch;
    for (Track* t : order) {
      const auto at = static_cast<int32_t>(t->done++);
      batch.push_back({t->ids[static_cast<size_t>(at)], &t->sequence, at});
      batch.back().adapters = t->set;
      // Every third row of all but the first is not asked for.
      batch.back().want_output = t == tracks[0] || at % 3 != 0;
    }
    const auto wanted = static_cast<size_t>(
        std::count_if(batch.begin(), batch.end(), [](const auto& b) { return b.want_output; }));
    std::vector<float> rows(wanted * width);
    m.forward(batch, m.config().has_logits ? model::Output::kLogits : model::Output::kHidden,
              *workspace, pool, rows.data());
    size_t row = 0;
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!batch[i].want_output) continue;
      const float* from = rows.data() + row++ * width;
      order[i]->rows.insert(order[i]->rows.end(), from, from + width);
    }
  }
}

std::vector<float> run_alone(const Model& m, const Ids& ids, const SetPtr& set, int threads = 1) {
  Track track{ids, set.get()};
  ThreadPool pool(threads);
  RandomStream random(1, "unused");
  // A model that looks both ways wants whole sequences; this one is not shuffled: it is alone.
  run(m, {&track}, pool, random, [](size_t left) { return left; });
  return track.rows;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The base with f32(w + scale * alpha / rank * B A) for its matrices, summed in double.
gguf::File merged(const gguf::File& base, const std::vector<LoraMatrices>& pairs, double scale) {
  auto bytes = std::make_shared<std::vector<std::vector<float>>>();
  std::vector<gguf::Tensor> tensors(base.tensors().begin(), base.tensors().end());
  for (gguf::Tensor& t : tensors) {
    const auto m = std::find_if(pairs.begin(), pairs.end(),
                                [&](const LoraMatrices& pair) { return pair.tensor == t.name; });
    if (m == pairs.end()) continue;
    std::vector<float>& w = bytes->emplace_back(static_cast<size_t>(t.elements()));
    std::memcpy(w.data(), t.data.data(), t.data.size());
    const bool embedding = t.name == "token_embd.weight";
    const int64_t columns = t.dims[0];
    for (int64_t i = 0; i < t.elements(); ++i) {
      // Elsewhere row is an output and column an input; a token embedding has them swapped.
      const int64_t out = embedding ? i % columns : i / columns;
      const int64_t in = embedding ? i / columns : i % columns;
      double sum = 0;
      for (int64_t r = 0; r < m->rank; ++r)
        sum += double{m->b[static_cast<size_t>(out * m->rank + r)]} *
               m->a[static_cast<size_t>(embedding ? in * m->rank + r : r * m->inputs + in)];
      float& value = w[static_cast<size_t>(i)];
      value = static_cast<float>(value + scale * kAlpha / static_cast<double>(m->rank) * sum);
    }
    t.data = std::as_bytes(std::span(w));
  }
  // An adapted embedding leaves a head that was the same matrix as it was.
  if (const gguf::Tensor* embedding = base.find("token_embd.weight");
      base.find("output.weight") == nullptr) {
    tensors.push_back(*embedding);
    tensors.back().name = "output.weight";
  }
  struct Both {
    std::shared_ptr<const void> made;
    gguf::File base;
  };
  return gguf::File::assemble(base.metadata(), std::move(tensors),
                              std::make_shared<Both>(Both{bytes, base}), "merged");
}

double largest(const std::vector<float>& v) {
  double most = 0;
  for (const float x : v) most = std::max(most, std::abs(double{x}));
  return most;
}

class Lora : public ::testing::TestWithParam<std::string> {};

// Sums in another order differ by rounding only: 1e-4 of the largest logit.
TEST_P(Lora, IsNearTheMergedModel) {
  const auto base = load(GetParam(), TensorType::kF32);
  const auto pairs = random_pairs(base->file(), 3);
  auto merged_model = Model::load(merged(base->file(), pairs, 0.75));
  ASSERT_TRUE(merged_model.ok());
  RandomStream random(2, "ids");
  const Ids ids = random_ids(random, 21);
  const auto expected = run_alone(**merged_model, ids, nullptr);
  const auto got = run_alone(*base, ids, make_set({{adapter_of(*base, 3), 0.75f}}));
  const auto plain = run_alone(*base, ids, nullptr);
  ASSERT_EQ(got.size(), expected.size());
  double error = 0, effect = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error = std::max(error, std::abs(double{got[i]} - double{expected[i]}));
    effect = std::max(effect, std::abs(double{got[i]} - double{plain[i]}));
  }
  EXPECT_LT(error, 1e-4 * largest(expected)) << GetParam();
  EXPECT_GT(effect, 1e-2 * largest(expected)) << GetParam();
}

TEST_P(Lora, SameBitsInAnyCompany) {
  for (const TensorType type : {TensorType::kF32, TensorType::kQ4_K}) {
    const auto m = load(GetParam(), type);
    const auto one = adapter_of(*m, 3, TensorType::kF16),
               two = adapter_of(*m, 4, TensorType::kBF16);
    const SetPtr sets[] = {nullptr, make_set({{one, 1.0f}}), make_set({{one, 0.5f}, {two, -2.0f}})};
    RandomStream random(5, "company");
    std::vector<Track> tracks;
    for (const SetPtr& set : sets)
      for (const size_t count : {size_t{13}, size_t{40}})
        tracks.push_back({random_ids(random, count), set.get()});
    std::vector<std::vector<float>> expected;
    for (size_t i = 0; i < tracks.size(); ++i)
      expected.push_back(run_alone(*m, tracks[i].ids, sets[i / 2]));
    EXPECT_FALSE(same(expected[1], expected[3]));
    ThreadPool pool(2);
    for (const size_t first : {1, 3, 4}) {
      std::vector<Track> copies;
      for (const Track& t : tracks) copies.push_back({t.ids, t.set});
      std::vector<Track*> all = {&copies[first]};
      for (Track& t : copies)
        if (&t != all[0]) all.push_back(&t);
      run(*m, all, pool, random, [&](size_t left) { return random.next_below(left + 1); });
      EXPECT_TRUE(same(copies[first].rows, expected[first])) << GetParam() << " " << first;
    }
    EXPECT_TRUE(same(run_alone(*m, tracks[5].ids, sets[2], 3), expected[5]));
    for (const auto isa : {kernels::Isa::kScalar, kernels::Isa::kAvx2}) {
      const kernels::Kernels* k = kernels::kernels_for(isa);
      if (k == nullptr || k == &m->kernels()) continue;
      const auto other = load(GetParam(), type, k);
      const SetPtr set = make_set({{adapter_of(*other, 3, TensorType::kF16), 0.5f},
                                   {adapter_of(*other, 4, TensorType::kBF16), -2.0f}});
      EXPECT_EQ(set->hash(), sets[2]->hash());
      EXPECT_TRUE(same(run_alone(*other, tracks[4].ids, set), expected[4])) << k->name;
    }
  }
}

// One with q, k, v apart, with everything fused, with a tied head, with a mixture of experts.
INSTANTIATE_TEST_SUITE_P(Models, Lora,
                         ::testing::Values("llama", "phi3", "gemma3", "gpt2", "qwen2moe"),
                         [](const auto& variant) { return variant.param; });

// What the order promises: y = W x, then one fma for each adapter.
TEST(LoraSet, HashNamesContentOrderAndScale) {
  const auto m = load("llama", TensorType::kF32);
  const auto one = adapter_of(*m, 3), again = adapter_of(*m, 3), other = adapter_of(*m, 4);
  const auto hash = [](std::vector<AdapterSet::Member> members) {
    return AdapterSet(std::move(members)).hash();
  };
  EXPECT_EQ(hash({{one, 1.0f}}), hash({{again, 1.0f}}));
  EXPECT_NE(hash({{one, 1.0f}}), hash({{one, 0.5f}}));
  EXPECT_NE(hash({{one, 1.0f}}), hash({{other, 1.0f}}));
  EXPECT_NE(hash({{one, 1.0f}, {other, 1.0f}}), hash({{other, 1.0f}, {one, 1.0f}}));
  EXPECT_NE(hash({{one, 1.0f}}), hash({}));
}

TEST(LoraFile, WhatIsWrittenIsRead) {
  const auto m = load("llama", TensorType::kF32);
  auto pairs = random_pairs(m->file(), 3);
  std::erase_if(pairs, [](const auto& p) { return p.tensor == "token_embd.weight"; });
  const auto path = (std::filesystem::path(::testing::TempDir()) /
                     ("lora_" + std::to_string(::getpid()) + ".gguf"))
                        .string();
  ASSERT_TRUE(model::write_lora(path, "llama", kAlpha, pairs).ok());
  auto file = gguf::File::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(model::is_adapter_file(*file));
  const auto info = model::read_lora_info(*file);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->pairs, static_cast<int64_t>(pairs.size()));
  EXPECT_EQ(info->alpha, kAlpha);
  const auto read = LoraAdapter::load(std::move(*file), *m);
  ASSERT_TRUE(read.ok()) << read.error().message;
  const auto made = LoraAdapter::load(adapter_file("llama", pairs, TensorType::kF32), *m);
  EXPECT_EQ((*read)->digest(), (*made)->digest());
  std::filesystem::remove(path);
}

TEST(LoraFile, RefusesWhatDoesNotFit) {
  const auto m = load("mixtral", TensorType::kF32);
  const auto error = [&](const gguf::File& file) {
    const auto loaded = LoraAdapter::load(file, *m);
    return loaded.ok() ? std::string("no error") : loaded.error().message;
  };
  const auto pair = [](const std::string& name, int64_t rank, int64_t in, int64_t out) {
    return LoraMatrices{name,
                        rank,
                        in,
                        out,
                        std::vector<float>(static_cast<size_t>(rank * in), 1.0f),
                        std::vector<float>(static_cast<size_t>(rank * out), 1.0f)};
  };
  const gguf::Tensor& q = *m->file().find("blk.0.attn_q.weight");
  const int64_t in = q.dims[0], out = q.dims[1];
  const auto f32 = TensorType::kF32;
  const auto one = [&](const LoraMatrices& p) { return adapter_file("llama", {p}, f32); };
  EXPECT_EQ(error(one(pair(q.name, 4, in, out))), "no error");
  EXPECT_THAT(error(one(pair(q.name, 4, in + 1, out))), HasSubstr("another model"));
  EXPECT_THAT(error(one(pair(q.name, 4, in, out + 16))), HasSubstr("another model"));
  EXPECT_THAT(error(one(pair("blk.99.attn_q.weight", 4, in, out))),
              HasSubstr("'blk.99.attn_q.weight.lora_a' adapts a matrix that"));
  EXPECT_THAT(error(one(pair("blk.0.ffn_up_exps.weight", 4, in, out))), HasSubstr("experts"));
  EXPECT_THAT(error(one(pair("output_norm.weight", 4, in, out))), HasSubstr("does not have"));
  EXPECT_THAT(error(adapter_file("qwen2", {pair(q.name, 4, in, out)}, f32)),
              HasSubstr("an adapter for 'qwen2'"));
  EXPECT_THAT(error(adapter_file("llama", {}, f32)), HasSubstr("empty"));
  EXPECT_THAT(error(m->file()), HasSubstr("not an adapter"));

  const auto changed = [&](const std::function<void(std::vector<gguf::Tensor>&)>& change,
                           gguf::Metadata metadata = model::lora_metadata("llama", kAlpha)) {
    const auto file = std::make_shared<const gguf::File>(one(pair(q.name, 4, in, out)));
    std::vector<gguf::Tensor> tensors(file->tensors().begin(), file->tensors().end());
    change(tensors);
    return error(
        gguf::File::assemble(std::move(metadata), std::move(tensors), file, "adapter.gguf"));
  };
  EXPECT_THAT(changed([](auto& t) { t.pop_back(); }), HasSubstr("has no"));
  EXPECT_THAT(changed([](auto& t) { t.erase(t.begin()); }), HasSubstr("has no lora_a"));
  EXPECT_THAT(changed([](auto& t) { t[0].name = "loose"; }), HasSubstr("is no part of"));
  EXPECT_THAT(changed([](auto& t) { t[0].type = TensorType::kI32; }),
              HasSubstr("F32, F16 or BF16"));
  EXPECT_THAT(changed([](auto& t) { t[0].dims[0] /= 2, t[0].dims[1] *= 2; }),
              HasSubstr("their ranks differ"));
  EXPECT_THAT(changed([](auto& t) {
                t[0].dims = {t[0].dims[0], 2, 2};
              }),
              HasSubstr("more than two dimensions"));
  auto metadata = model::lora_metadata("llama", kAlpha);
  metadata["adapter.type"] = gguf::Value::string("control_vector");
  EXPECT_THAT(changed([](auto&) {}, metadata), HasSubstr("'control_vector'"));
  metadata = model::lora_metadata("llama", std::nanf(""));
  EXPECT_THAT(changed([](auto&) {}, metadata), HasSubstr("finite"));
}

}  // namespace
}  // namespace geist
