#include "model/quantize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/block.h"
#include "tests/support/shared_data.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using kernels::TensorType;

std::vector<float> random_weights(const std::string& name, int64_t count) {
  RandomStream random(5, name);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(random.next_double() - 0.5);
  return values;
}

class QuantizeFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) /
              ("quantize_" + std::string(info->name()) + "_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // A two-block llama of F32 tensors; `spoil` may change the weights of a tensor by name.
  using Spoil = void (*)(const std::string& name, std::vector<float>& weights);
  std::string write_model(const std::string& name, Spoil spoil = nullptr) {
    std::vector<gguf::TensorToWrite> tensors = {{"token_embd.weight", TensorType::kF32, {256, 96}},
                                                {"output.weight", TensorType::kF32, {256, 96}},
                                                {"output_norm.weight", TensorType::kF32, {256}}};
    for (const std::string prefix : {"blk.0.", "blk.1."}) {
      tensors.push_back({prefix + "attn_v.weight", TensorType::kF32, {256, 64}});
      tensors.push_back({prefix + "ffn_down.weight", TensorType::kF32, {512, 256}});
      tensors.push_back({prefix + "ffn_up.weight", TensorType::kF32, {256, 512}});
      tensors.push_back({prefix + "odd.weight", TensorType::kF32, {96, 3, 5}});
    }
    const gguf::Metadata metadata = {{"general.architecture", gguf::Value::string("llama")},
                                     {"general.file_type", gguf::Value::u32(0)},
                                     {"general.name", gguf::Value::string("small")},
                                     {"llama.block_count", gguf::Value::u32(2)},
                                     {"split.count", gguf::Value::u32(1)}};
    auto writer = gguf::Writer::create(path(name), metadata, tensors);
    EXPECT_TRUE(writer.ok());
    for (const gguf::TensorToWrite& tensor : tensors) {
      int64_t count = 1;
      for (const int64_t dim : tensor.dims) count *= dim;
      auto weights = random_weights(tensor.name, count);
      if (spoil != nullptr) spoil(tensor.name, weights);
      EXPECT_TRUE(writer->write_tensor(std::as_bytes(std::span(weights))).ok());
    }
    EXPECT_TRUE(writer->commit().ok());
    return path(name);
  }

  Result<QuantizeReport> quantize(const std::string& in, const std::string& out, FileType type,
                                  int threads = 2) {
    const auto file = gguf::File::open(in);
    if (!file.ok()) return file.error();
    ThreadPool pool(threads);
    return quantize_file(*file, out, type, pool, {});
  }

 private:
  fs::path folder_;
};

TEST_F(QuantizeFile, EveryTensorIsItsRowsEncoded) {
  const std::string source = write_model("in.gguf");
  for (const FileTypeInfo& info : file_types()) {
    const std::string target = path(std::string(info.name) + ".gguf");
    const auto report = quantize(source, target, info.type);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const auto in = gguf::File::open(source), out = gguf::File::open(target);
    ASSERT_TRUE(out.ok()) << out.error().message;
    const auto choices = *choose_tensor_types(in->metadata(), in->tensors(), info.type);
    ASSERT_EQ(out->tensors().size(), in->tensors().size());
    uint64_t bytes_out = 0;
    for (size_t i = 0; i < choices.size(); ++i) {
      const gguf::Tensor &a = in->tensors()[i], &b = out->tensors()[i];
      ASSERT_EQ(a.name, b.name);
      ASSERT_EQ(a.dims, b.dims);
      ASSERT_EQ(b.type, choices[i].type);
      bytes_out += b.data.size();
      const auto weights = random_weights(a.name, a.elements());
      std::vector<std::byte> expected(b.data.size());
      const int64_t row_bytes = *kernels::row_bytes(b.type, b.columns());
      for (int64_t r = 0; r < b.rows(); ++r) {
        kernels::quantize_row(b.type, weights.data() + r * b.columns(), b.columns(),
                              expected.data() + r * row_bytes);
      }
      EXPECT_EQ(std::memcmp(expected.data(), b.data.data(), expected.size()), 0) << b.name;
    }
    EXPECT_EQ(report->bytes_out, bytes_out);
    EXPECT_EQ(report->not_finite_count, 0);
  }
}

TEST_F(QuantizeFile, MetadataIsKeptAndSaysWhatTheFileIs) {
  const auto report = quantize(write_model("in.gguf"), path("out.gguf"), FileType::kQ4_K_M);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->fallback_count, 2);  // odd.weight, 96 columns
  EXPECT_EQ(report->types.at(TensorType::kQ5_0), 2);
  const auto out = gguf::File::open(path("out.gguf"));
  ASSERT_TRUE(out.ok());
  const gguf::Metadata& metadata = out->metadata();
  EXPECT_EQ(*gguf::get_string(metadata, "general.name").value(), "small");
  EXPECT_EQ(*gguf::get_int(metadata, "general.file_type").value(), 15);
  EXPECT_EQ(*gguf::get_int(metadata, "general.quantization_version").value(), 2);
  EXPECT_EQ(metadata.count("split.count"), 0u);
}

TEST_F(QuantizeFile, BytesDoNotDependOnThreads) {
  const std::string source = write_model("in.gguf");
  ASSERT_TRUE(quantize(source, path("1.gguf"), FileType::kQ4_K_M, 1).ok());
  const std::string one = *read_file(path("1.gguf"));
  for (const int threads : {2, 3, 7}) {
    ASSERT_TRUE(quantize(source, path("n.gguf"), FileType::kQ4_K_M, threads).ok());
    EXPECT_EQ(*read_file(path("n.gguf")), one) << threads;
  }
}

TEST_F(QuantizeFile, AFileThatIsDoneIsCopied) {
  ASSERT_TRUE(quantize(write_model("in.gguf"), path("a.gguf"), FileType::kQ6_K).ok());
  ASSERT_TRUE(quantize(path("a.gguf"), path("b.gguf"), FileType::kQ6_K).ok());
  EXPECT_EQ(*read_file(path("a.gguf")), *read_file(path("b.gguf")));
}

TEST_F(QuantizeFile, NeverInPlace) {
  const std::string source = write_model("in.gguf");
  fs::create_symlink(source, path("symbolic.gguf"));
  fs::create_hard_link(source, path("hard.gguf"));
  const std::string before = *read_file(source);
  for (const std::string& target :
       {source, path("./in.gguf"), path("symbolic.gguf"), path("hard.gguf")}) {
    const auto report = quantize(source, target, FileType::kQ8_0);
    ASSERT_FALSE(report.ok()) << target;
    EXPECT_NE(report.error().message.find("write to another file"), std::string::npos);
  }
  EXPECT_EQ(*read_file(source), before);
}

TEST_F(QuantizeFile, NorOntoAnotherPartOfASplitFile) {
  const std::vector<float> weights(512, 0.5f);
  for (const uint32_t part : {0u, 1u}) {
    const std::string number = std::to_string(part + 1);
    auto writer = gguf::Writer::create(
        path("m-0000" + number + "-of-00002.gguf"),
        {{"split.no", gguf::Value::u32(part)}, {"split.count", gguf::Value::u32(2)}},
        {{"w" + number + ".weight", TensorType::kF32, {256, 2}}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->write_tensor(std::as_bytes(std::span(weights))).ok());
    ASSERT_TRUE(writer->commit().ok());
  }
  const std::string first = path("m-00001-of-00002.gguf"), second = path("m-00002-of-00002.gguf");
  const std::string before = *read_file(second);
  for (const std::string& target : {first, second}) {
    const auto report = quantize(first, target, FileType::kQ8_0);
    ASSERT_FALSE(report.ok()) << target;
    EXPECT_NE(report.error().message.find("write to another file"), std::string::npos);
  }
  EXPECT_EQ(*read_file(second), before);
  ASSERT_TRUE(quantize(first, path("whole.gguf"), FileType::kQ8_0).ok());
  EXPECT_EQ(gguf::File::open(path("whole.gguf"))->tensors().size(), 2u);
}

TEST_F(QuantizeFile, WeightsThatAreNotFiniteAreCounted) {
  const std::string source = write_model("in.gguf", [](const std::string& name, auto& weights) {
    if (name != "blk.1.ffn_up.weight") return;
    weights[7] = std::numeric_limits<float>::infinity();
    weights[1000] = std::numeric_limits<float>::quiet_NaN();
  });
  const auto report = quantize(source, path("out.gguf"), FileType::kQ4_0);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->not_finite_count, 2);
}

TEST_F(QuantizeFile, ProgressRunsToTheEnd) {
  const auto in = gguf::File::open(write_model("in.gguf"));
  ThreadPool pool(2);
  int64_t last = 0, total = 0, calls = 0;
  const auto report =
      quantize_file(*in, path("out.gguf"), FileType::kQ8_0, pool, [&](const QuantizeProgress& p) {
        EXPECT_GT(p.weights_done, last);
        EXPECT_FALSE(p.tensor.empty());
        last = p.weights_done;
        total = p.weights_total;
        ++calls;
      });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, report->weights);
  EXPECT_GE(calls, 11);
}

TEST_F(QuantizeFile, AnUnwritableTargetIsAnError) {
  const auto report = quantize(write_model("in.gguf"), path("no/such/out.gguf"), FileType::kQ8_0);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("no/such"), std::string::npos);
}

// From any quantised type, as real files have them.
TEST_F(QuantizeFile, RequantisesFilesOfLlamaQuantize) {
  const auto models = testing::shared_path("data/golden/dev/models");
  if (!models) GTEST_SKIP() << "the golden set is absent (GEIST_SHARED)";
  for (const std::string name : {"IQ2_XXS", "IQ3_S", "IQ4_NL", "Q2_K", "Q3_K_M", "Q5_0"}) {
    const std::string source = *models + "/quant-" + name + ".gguf";
    const auto report = quantize(source, path("f16.gguf"), FileType::kF16);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const auto in = gguf::File::open(source), out = gguf::File::open(path("f16.gguf"));
    ASSERT_TRUE(out.ok());
    const gguf::Tensor &a = *in->find("blk.1.ffn_up.weight"),
                       &b = *out->find("blk.1.ffn_up.weight");
    ASSERT_EQ(b.type, TensorType::kF16);
    std::vector<float> x(static_cast<size_t>(a.elements())), y(x.size());
    kernels::dequantize_row(a.type, a.data.data(), a.elements(), x.data());
    kernels::dequantize_row(b.type, b.data.data(), b.elements(), y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(y[i], kernels::f16_to_f32(kernels::f32_to_f16(x[i])));
    }
  }
}

}  // namespace
}  // namespace geist::model
