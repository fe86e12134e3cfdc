// Logits of the golden models against independent values: a float64 reference ("exact") where
// llama.cpp itself is far from exact arithmetic, llama.cpp's own logits elsewhere. Tolerances come
// with the golden set; its README says how they were made.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/sampler.h"
#include "tests/support/npy.h"
#include "tests/support/run_model.h"
#include "tests/support/shared_data.h"

namespace geist {
namespace {

using nlohmann::json;
using testing::golden_path;
using testing::NpyArray;

json read_json(const std::string& name) {
  const auto path = golden_path(name);
  if (!path) return {};
  const auto text = read_file(*path);
  return text.ok() ? json::parse(text.value(), nullptr, false) : json();
}

// The entries of the manifest's list ("arch" or "quant"); one empty entry when the set is absent,
// so that the test exists and can say that it was skipped.
std::vector<json> entries(const char* list) {
  const json manifest = read_json("MANIFEST.json");
  std::vector<json> all;
  if (manifest.is_object())
    for (const json& entry : manifest[list]) all.push_back(entry);
  if (all.empty()) all.emplace_back();
  return all;
}

std::string case_name(const ::testing::TestParamInfo<json>& info) {
  std::string name = info.param.is_object() ? info.param["name"].get<std::string>() : "absent";
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return name;
}

NpyArray golden(const json& file) {
  const auto path = golden_path(file.get<std::string>());
  EXPECT_TRUE(path.has_value()) << file;
  if (!path) return {};
  auto array = testing::read_npy(*path);
  EXPECT_TRUE(array.ok()) << array.error().message;
  return array.ok() ? std::move(array).value() : NpyArray{};
}

// Row `r` of a golden array belongs to token: files of t96's exact values hold every eighth, from
// the seventh.
size_t token_of_row(const json& file, int64_t r) {
  const bool every_eighth = file.get<std::string>().find("rows7to95step8") != std::string::npos;
  return static_cast<size_t>(every_eighth ? 7 + 8 * r : r);
}

struct Difference {
  double max_abs = 0, rms = 0, top1 = 0;
};

Difference compare(const std::vector<float>& got, const json& file) {
  const NpyArray expected = golden(file);
  Difference d;
  const auto width = static_cast<size_t>(expected.cols());
  double squares = 0;
  for (int64_t r = 0; r < expected.rows(); ++r) {
    const float* e = expected.row(r);
    const float* g = got.data() + token_of_row(file, r) * width;
    for (size_t i = 0; i < width; ++i) {
      const double diff = std::abs(double{g[i]} - double{e[i]});
      d.max_abs = std::isnan(diff) ? INFINITY : std::max(d.max_abs, diff);
      squares += diff * diff;
    }
    d.top1 += std::max_element(e, e + width) - e == std::max_element(g, g + width) - g;
  }
  d.rms = std::sqrt(squares / static_cast<double>(expected.data.size()));
  d.top1 /= static_cast<double>(expected.rows());
  return d;
}

class GoldenModel : public ::testing::TestWithParam<json> {
 protected:
  void SetUp() override {
    if (!GetParam().is_object()) GTEST_SKIP() << "the golden set is absent (GEIST_SHARED)";
    auto opened = testing::open_model(*golden_path(GetParam()["file"].get<std::string>()));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    model_ = std::move(opened).value();
    tokens_ = read_json("tokens.json")[GetParam()["name"].get<std::string>()];
  }

  // What the model gives for the tokens named t7 or t96: logits, or the pooled embedding.
  std::vector<float> run(const char* which) {
    const auto ids = tokens_[which].get<std::vector<text::TokenId>>();
    std::vector<float> rows = testing::run_whole(*model_, ids, pool_);
    if (model_->config().has_logits) return rows;
    std::vector<float> pooled(static_cast<size_t>(model_->config().embedding_length));
    model::pool_embedding(*model_, rows, pooled.data());
    return pooled;
  }

  ThreadPool pool_{2};
  std::unique_ptr<model::Model> model_;
  json tokens_;
};

class GoldenArchitecture : public GoldenModel {};

TEST_P(GoldenArchitecture, MatchesReference) {
  const json& entry = GetParam();
  const bool has_exact = !entry["exact"].is_null();
  const double tolerance = entry["tolerance"][has_exact ? "f32_vs_exact" : "f32_vs_llama_cpp"];
  for (const char* which : {"t7", "t96"}) {
    const Difference d = compare(run(which), entry[has_exact ? "exact" : "golden"][which]);
    std::printf("%-18s %-3s against %-9s max %.2e (allowed %.1e)\n",
                entry["name"].get<std::string>().c_str(), which, has_exact ? "exact" : "llama.cpp",
                d.max_abs, tolerance);
    EXPECT_LE(d.max_abs, tolerance) << which;
  }
}

INSTANTIATE_TEST_SUITE_P(Logits, GoldenArchitecture, ::testing::ValuesIn(entries("arch")),
                         case_name);

class GoldenQuantised : public GoldenModel {};

TEST_P(GoldenQuantised, StaysWithinEightBitBounds) {
  const json& entry = GetParam();
  const json& tolerance = entry["tolerance"];
  const double max_allowed = tolerance["int8_activations_vs_exact_max_abs"];
  for (const char* which : {"t7", "t96"}) {
    const Difference d = compare(run(which), entry["exact"][which]);
    std::printf("%-18s %-3s max %.3f (allowed %.2f) rms %.4f top1 %.2f\n",
                entry["name"].get<std::string>().c_str(), which, d.max_abs, max_allowed, d.rms,
                d.top1);
    EXPECT_LE(d.max_abs, max_allowed) << which;
    if (std::string_view(which) != "t96") continue;
    EXPECT_LE(d.rms, tolerance["int8_activations_vs_exact_rms_t96"].get<double>());
    EXPECT_GE(d.top1, tolerance["int8_activations_top1_agreement_t96"].get<double>());
  }
}

INSTANTIATE_TEST_SUITE_P(Logits, GoldenQuantised, ::testing::ValuesIn(entries("quant")), case_name);

// A trained model: greedy continuations must be the same tokens, perplexity within 0.1%.
class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = golden_path("models/stories260K.gguf");
    if (!path) GTEST_SKIP() << "the golden set is absent (GEIST_SHARED)";
    auto opened = testing::open_model(*path);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    model_ = std::move(opened).value();
  }
  ThreadPool pool_{2};
  std::unique_ptr<model::Model> model_;
};

TEST_F(Stories, ContinuesGreedilyWithTheSameTokens) {
  const model::WorkspacePtr workspace = model::Model::make_workspace();
  const json greedy = read_json("real/stories260K.greedy.json");
  for (const json& entry : greedy) {
    const auto expected = entry["greedy_tokens"].get<std::vector<text::TokenId>>();
    auto next = entry["prompt_tokens"].get<std::vector<text::TokenId>>();
    model::Sequence sequence;
    std::vector<text::TokenId> got;
    while (got.size() < expected.size()) {
      const std::vector<float> rows = testing::append(*model_, sequence, next, *workspace, pool_);
      const auto last = rows.end() - model_->config().vocab_size;
      got.push_back(static_cast<text::TokenId>(std::max_element(last, rows.end()) - last));
      next = {got.back()};
    }
    EXPECT_EQ(got, expected) << entry["prompt"];
  }
}

// llama.cpp's definition: windows of n_ctx tokens, the first replaced by BOS; the second half of
// each predicts.
TEST_F(Stories, PerplexityMatches) {
  constexpr text::TokenId kBos = 1;
  json expected;
  const json manifest = read_json("MANIFEST.json");
  for (const json& entry : manifest["real"])
    if (entry["kind"] == "perplexity" && entry["model"] == "models/stories260K.gguf")
      expected = entry;
  const auto ids =
      read_json("real/stories260K.tokens.json")["tokens"].get<std::vector<text::TokenId>>();
  const auto window = expected["n_ctx"].get<size_t>();
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  double sum = 0;
  size_t count = 0;
  for (size_t begin = 0; begin + window <= ids.size(); begin += window) {
    std::vector<text::TokenId> part(ids.begin() + static_cast<long>(begin),
                                    ids.begin() + static_cast<long>(begin + window));
    part[0] = kBos;
    const std::vector<float> rows = testing::run_whole(*model_, part, pool_);
    for (size_t i = window / 2; i + 1 < window; ++i, ++count)
      sum -= engine::log_probability({rows.data() + i * vocab, vocab}, part[i + 1]);
    const size_t done = begin / window;
    const double running = std::exp(sum / static_cast<double>(count));
    const double wanted = expected["running_ppl"][done];
    EXPECT_NEAR(running / wanted, 1.0, expected["tolerance_relative"].get<double>())
        << "window " << done;
  }
  std::printf("perplexity %.4f, llama.cpp %.4f\n", std::exp(sum / static_cast<double>(count)),
              expected["ppl"].get<double>());
}

}  // namespace
}  // namespace geist
