// One arithmetic: the logits of a token are the same bytes however they are computed. No tolerance,
// no part of a prompt left out. For every architecture (and its variants) and each of F32, F16,
// BF16, Q8_0, Q4_0, Q4_K and Q6_K there is one model of random weights and a random odd shape, and
// one prompt of 41 to 70 random tokens, two or three pages. The expected rows are those of the
// fastest instruction set, the whole prompt at once, on one thread. On EACH instruction set of this
// machine (scalar, AVX2, AVX-512 without VNNI, AVX-512 with VNNI, with AMX) all rows must be theirs
// for
//   - the whole prompt at once, token by token, in random chunks, and mixed at random into batches
//     with two other sequences;
//   - 1, 2, 3 and 7 threads: each of the four ways takes another number, drawn anew for each model
//     and instruction set, so that all pairs occur; the fastest set takes every pair;
//   - quantised weights packed into panels (all of the above) and straight from the file.
// Models that are not causal have no tokens to take one by one: theirs is the whole prompt twice.
// The portable kernels, which compute fma from doubles, run the whole prompt.
// With GEIST_IDENTITY_BRIEF set (for emulated processors) the fastest set takes four pairs and all
// others run the whole prompt. With GEIST_IDENTITY_DIGESTS=FILE each case appends its name and the
// SHA-256 of its expected rows, by which processors of different kinds are compared
// (scripts/test-arm).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "tests/support/random_model.h"
#include "tests/support/run_model.h"

namespace geist {
namespace {

using kernels::TensorType;
using model::Model;
using testing::random_model;
using testing::Shape;
using Ids = std::vector<text::TokenId>;

constexpr int kThreads[] = {1, 2, 3, 7};

Ids random_ids(RandomStream& random, size_t count) {
  Ids ids(count);
  for (auto& id : ids) id = static_cast<text::TokenId>(random.next_below(288));
  return ids;
}

// The last random model is kept: quantising its weights costs more than running it.
std::unique_ptr<Model> load(const std::string& variant, TensorType type,
                            const model::LoadOptions& options = {}, Shape shape = Shape::kFixed) {
  static std::tuple<std::string, TensorType, Shape> made;
  static std::shared_ptr<const gguf::File> file;
  if (file == nullptr || made != std::tuple(variant, type, shape)) {
    // Random shapes: another one for each pair of variant and type.
    const uint64_t seed =
        shape == Shape::kFixed ? 7 : stream_id(variant) + static_cast<uint64_t>(type);
    file = std::make_shared<const gguf::File>(random_model(variant, type, seed, shape));
    made = {variant, type, shape};
  }
  std::vector<gguf::Tensor> tensors(file->tensors().begin(), file->tensors().end());
  auto loaded = Model::load(
      gguf::File::assemble(file->metadata(), std::move(tensors), file, file->name()), options);
  EXPECT_TRUE(loaded.ok()) << (loaded.ok() ? "" : loaded.error().message);
  return loaded.ok() ? std::move(loaded).value() : nullptr;
}

// Where the first difference is, or nothing.
std::string difference(const std::vector<float>& got, const std::vector<float>& expected,
                       int64_t width) {
  if (got.size() != expected.size()) return "sizes differ";
  if (std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)) == 0) return "";
  for (size_t i = 0; i < got.size(); ++i)
    if (std::memcmp(&got[i], &expected[i], sizeof(float)) != 0)
      return "token " + std::to_string(static_cast<int64_t>(i) / width) + " element " +
             std::to_string(static_cast<int64_t>(i) % width) + ": " + std::to_string(got[i]) +
             " is not " + std::to_string(expected[i]);
  return "";
}

// Of the running case, in one write: cases may run side by side.
void append_digest(const std::vector<float>& rows) {
  const char* path = std::getenv("GEIST_IDENTITY_DIGESTS");
  if (path == nullptr) return;
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::ofstream file(path, std::ios::app);
  file << std::string(info->test_suite_name()) + "." + info->name() + " " +
              to_hex(sha256(std::as_bytes(std::span(rows)))) + "\n"
       << std::flush;
  EXPECT_TRUE(file.good()) << path;
}

// Runs the ids mixed at random with two other sequences: batches of random tokens of all three,
// interleaved. A model that is not causal gets the three whole sequences in one batch.
std::vector<float> run_mixed(const Model& m, const Ids& ids, ThreadPool& pool,
                             RandomStream& random) {
  const bool causal = m.config().causal;
  const Ids others[] = {random_ids(random, 19), random_ids(random, 50)};
  const Ids* all[] = {&ids, &others[0], &others[1]};
  model::Sequence sequences[3];
  size_t done[3] = {};
  const auto width = static_cast<size_t>(testing::output_width(m));
  const auto workspace = Model::make_workspace();
  std::vector<float> result;
  while (done[0] < ids.size()) {
    std::vector<size_t> order;  // which sequence each token of the batch belongs to
    for (size_t s = 0; s < 3; ++s) {
      const size_t left = all[s]->size() - done[s];
      const size_t count = causal ? random.next_below(std::min<size_t>(left, 30) + 1) : left;
      model::reserve(m.config(), sequences[s], static_cast<int32_t>(count));
      order.insert(order.end(), count, s);
    }
    if (causal)
      for (size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[random.next_below(i)]);
    std::vector<model::BatchToken> batch;
    for (const size_t s : order) {
      batch.push_back({(*all[s])[done[s]], &sequences[s], static_cast<int32_t>(done[s])});
      batch.back().want_output = s == 0 || random.next_below(2) == 0;
      ++done[s];
    }
    const auto wanted =
        std::count_if(batch.begin(), batch.end(), [](const auto& t) { return t.want_output; });
    std::vector<float> rows(static_cast<size_t>(wanted) * width);
    m.forward(batch, m.config().has_logits ? model::Output::kLogits : model::Output::kHidden,
              *workspace, pool, rows.data());
    for (size_t i = 0, row = 0; i < batch.size(); ++i) {
      if (!batch[i].want_output) continue;
      if (order[i] == 0)
        result.insert(result.end(), rows.begin() + static_cast<long>(row * width),
                      rows.begin() + static_cast<long>((row + 1) * width));
      ++row;
    }
  }
  return result;
}

class Identity : public ::testing::TestWithParam<std::string> {
 protected:
  void expect_rows(const std::vector<float>& got, const std::string& how) {
    const std::string where = difference(got, expected_, width_);
    EXPECT_EQ(where, "") << GetParam() << " " << kernels::tensor_type_info(type_).name << ", "
                         << how;
  }

  enum class Way { kWhole, kTokenByToken, kChunks, kMixed };
  static constexpr Way kWays[] = {Way::kWhole, Way::kTokenByToken, Way::kChunks, Way::kMixed};

  void expect_same(const Model& m, Way way, int threads) {
    ThreadPool pool(threads);
    const std::string how =
        std::string(m.kernels().name) + ", " + std::to_string(threads) + " threads, ";
    const bool whole = way == Way::kWhole || (way != Way::kMixed && !m.config().causal);
    if (whole) {
      expect_rows(testing::run_whole(m, ids_, pool), how + "whole");
    } else if (way == Way::kMixed) {
      expect_rows(run_mixed(m, ids_, pool, random_), how + "mixed with others");
    } else if (way == Way::kTokenByToken) {
      const size_t single[] = {1};
      expect_rows(testing::run_chunked(m, ids_, pool, single), how + "token by token");
    } else {
      std::vector<size_t> chunks;
      for (size_t sum = 0; sum < ids_.size(); sum += chunks.back())
        chunks.push_back(1 + random_.next_below(30));
      expect_rows(testing::run_chunked(m, ids_, pool, chunks), how + "random chunks");
    }
  }

  // Every way with every number of threads.
  void check_all_pairs(const Model& m) {
    for (const Way way : kWays)
      for (const int threads : kThreads) expect_same(m, way, threads);
  }

  // Every way and every number of threads, in pairs drawn at random.
  void check_random_pairs(const Model& m) {
    std::array threads = std::to_array(kThreads);
    for (size_t i = threads.size(); i > 1; --i)
      std::swap(threads[i - 1], threads[random_.next_below(i)]);
    for (size_t i = 0; i < threads.size(); ++i) expect_same(m, kWays[i], threads[i]);
  }

  void check_instruction_set(const kernels::Kernels* k, bool fastest) {
    const bool brief = std::getenv("GEIST_IDENTITY_BRIEF") != nullptr;
    const auto m = load(GetParam(), type_, {.kernels = k}, Shape::kRandom);
    ASSERT_NE(m, nullptr);
    if (k->isa == kernels::Isa::kPortable || (brief && !fastest))
      return expect_same(*m, Way::kWhole, 2);
    fastest && !brief ? check_all_pairs(*m) : check_random_pairs(*m);
    if (!kernels::is_quantized(type_)) return;
    EXPECT_GT(m->packed_bytes(), 0);
    const auto unpacked = load(GetParam(), type_, {.kernels = k, .pack = false}, Shape::kRandom);
    ASSERT_NE(unpacked, nullptr);
    EXPECT_EQ(unpacked->packed_bytes(), 0);
    expect_same(*unpacked, Way::kChunks, 2);
    // Memory for a part of the weights alone.
    const int64_t half = m->packed_bytes() / 2;
    const auto partly =
        load(GetParam(), type_, {.kernels = k, .packed_bytes_max = half}, Shape::kRandom);
    ASSERT_NE(partly, nullptr);
    EXPECT_LE(partly->packed_bytes(), half);
    EXPECT_EQ(partly->packed_bytes() + partly->unpacked_bytes(), m->packed_bytes());
    expect_same(*partly, Way::kWhole, 2);
  }

  void check(TensorType type) {
    type_ = type;
    random_ = RandomStream(static_cast<uint64_t>(type), "identity " + GetParam());
    ids_ = random_ids(random_, 41 + random_.next_below(30));
    const auto tables = kernels::all_kernels();
    const auto m = load(GetParam(), type, {.kernels = tables.back()}, Shape::kRandom);
    ASSERT_NE(m, nullptr);
    width_ = testing::output_width(*m);
    ThreadPool one(1);
    expected_ = testing::run_whole(*m, ids_, one);
    ASSERT_TRUE(std::all_of(expected_.begin(), expected_.end(),
                            [](float x) { return x == x && x - x == 0.0f; }));
    append_digest(expected_);
    for (size_t i = 0; i < tables.size(); ++i) {
      const bool same_functions =  // as the next: portable where the processor has an fma anyway
          i + 1 < tables.size() && tables[i]->matmul_panels == tables[i + 1]->matmul_panels;
      if (!same_functions) check_instruction_set(tables[i], i + 1 == tables.size());
    }
  }

  RandomStream random_{11, "identity"};
  Ids ids_;
  std::vector<float> expected_;
  int64_t width_ = 0;
  TensorType type_ = TensorType::kF32;
};

TEST_P(Identity, F32) { check(TensorType::kF32); }
TEST_P(Identity, F16) { check(TensorType::kF16); }
TEST_P(Identity, BF16) { check(TensorType::kBF16); }
TEST_P(Identity, Q8_0) { check(TensorType::kQ8_0); }
TEST_P(Identity, Q4_0) { check(TensorType::kQ4_0); }
TEST_P(Identity, Q4_K) { check(TensorType::kQ4_K); }
TEST_P(Identity, Q6_K) { check(TensorType::kQ6_K); }

std::string case_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Logits, Identity, ::testing::ValuesIn(testing::random_model_variants()),
                         case_name);

// Older files have a tensor for each expert, newer ones a table of them: the same weights, the same
// bytes.
TEST(IdentityOfForms, SplitAndMergedExperts) {
  RandomStream random(3, "experts");
  const Ids ids = random_ids(random, 33);
  ThreadPool pool(2);
  const auto merged = load("mixtral", TensorType::kQ4_0),
             split = load("mixtral-split", TensorType::kQ4_0);
  ASSERT_TRUE(merged && split);
  EXPECT_EQ(difference(testing::run_whole(*split, ids, pool),
                       testing::run_whole(*merged, ids, pool), 288),
            "");
}

// A forked sequence shares its pages; the branches diverge without seeing each other.
TEST(IdentityOfForms, ForkedSequence) {
  RandomStream random(5, "fork");
  const Ids prefix = random_ids(random, 41), left = random_ids(random, 9),
            right = random_ids(random, 9);
  const auto m = load("llama", TensorType::kF32);
  ASSERT_NE(m, nullptr);
  ThreadPool pool(2);
  const auto workspace = Model::make_workspace();
  const auto straight = [&](const Ids& tail) {
    model::Sequence s;
    testing::append(*m, s, prefix, *workspace, pool);
    return testing::append(*m, s, tail, *workspace, pool);
  };
  model::Sequence a;
  testing::append(*m, a, prefix, *workspace, pool);
  model::Sequence b = a;
  const std::vector<float> a_rows = testing::append(*m, a, left, *workspace, pool);
  const std::vector<float> b_rows = testing::append(*m, b, right, *workspace, pool);
  EXPECT_EQ(a.pages.front(), b.pages.front());
  EXPECT_NE(a.pages.back(), b.pages.back());
  EXPECT_EQ(difference(a_rows, straight(left), 288), "");
  EXPECT_EQ(difference(b_rows, straight(right), 288), "");
}

// Tokens that may not see a label compute the same bytes whatever the pages with that label hold.
TEST(IdentityOfForms, InvisibleLabel) {
  RandomStream random(9, "labels");
  const Ids trusted = random_ids(random, 20), question = random_ids(random, 15);
  ThreadPool pool(2);
  for (const std::string variant : {"llama", "gemma3", "bloom", "gpt-oss"}) {
    const auto m = load(variant, TensorType::kF32);
    ASSERT_NE(m, nullptr);
    const auto workspace = Model::make_workspace();
    const auto answer = [&](const Ids& untrusted, uint64_t visible) {
      model::Sequence s;
      testing::append(*m, s, trusted, *workspace, pool);
      std::vector<float> rows(untrusted.size() * 288);
      std::vector<model::BatchToken> batch;
      int32_t pos = model::reserve(m->config(), s, static_cast<int32_t>(untrusted.size()), 1);
      for (const auto id : untrusted) batch.push_back({id, &s, pos++});
      m->forward(batch, model::Output::kLogits, *workspace, pool, rows.data());
      batch.clear();
      pos = model::reserve(m->config(), s, static_cast<int32_t>(question.size()), 0);
      for (const auto id : question) batch.push_back({id, &s, pos++, visible});
      rows.resize(question.size() * 288);
      m->forward(batch, model::Output::kLogits, *workspace, pool, rows.data());
      return rows;
    };
    const Ids one = random_ids(random, 40), other = random_ids(random, 40);
    EXPECT_EQ(difference(answer(one, 1), answer(other, 1), 288), "") << variant;
    EXPECT_NE(difference(answer(one, 3), answer(other, 3), 288), "") << variant;
  }
}

}  // namespace
}  // namespace geist
