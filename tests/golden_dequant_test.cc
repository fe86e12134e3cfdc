// Dequantised values against those of libggml and gguf-py, which agree with each other to the bit:
// the golden files name the model and the tensor, MODEL.TENSOR.npy, shape [rows, columns].
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "kernels/block.h"
#include "tests/support/npy.h"
#include "tests/support/shared_data.h"

namespace geist {
namespace {

void check_tensor(const std::string& models, const std::filesystem::path& golden,
                  std::set<std::string_view>& types_seen) {
  const std::string stem = golden.stem().string();
  const size_t dot = stem.find('.');
  ASSERT_NE(dot, std::string::npos) << stem;
  const auto file = gguf::File::open(models + "/" + stem.substr(0, dot) + ".gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const gguf::Tensor* tensor = file->find(stem.substr(dot + 1));
  ASSERT_NE(tensor, nullptr) << stem;
  const auto expected = testing::read_npy(golden.string());
  ASSERT_TRUE(expected.ok()) << expected.error().message;
  ASSERT_EQ(expected->rows(), tensor->rows());
  ASSERT_EQ(expected->cols(), tensor->columns());

  const int64_t row_bytes = *kernels::row_bytes(tensor->type, tensor->columns());
  std::vector<float> row(static_cast<size_t>(tensor->columns()));
  for (int64_t r = 0; r < tensor->rows(); ++r) {
    kernels::dequantize_row(tensor->type, tensor->data.data() + r * row_bytes, tensor->columns(),
                            row.data());
    ASSERT_EQ(std::memcmp(row.data(), expected->row(r), row.size() * sizeof(float)), 0)
        << stem << " row " << r;
  }
  types_seen.insert(kernels::tensor_type_info(tensor->type).name);
}

TEST(Dequant, EqualsGgmlToTheBit) {
  const auto models = testing::golden_path("models");
  const auto dequant = testing::golden_path("dequant");
  ASSERT_TRUE(models && dequant) << "tests/golden is part of the repository";
  std::vector<std::filesystem::path> goldens;
  for (const auto& entry : std::filesystem::directory_iterator(*dequant)) {
    if (entry.path().extension() == ".npy") goldens.push_back(entry.path());
  }
  std::sort(goldens.begin(), goldens.end());
  ASSERT_FALSE(goldens.empty());
  std::set<std::string_view> types_seen;
  for (const auto& golden : goldens) check_tensor(*models, golden, types_seen);
  // The part of the set in the repository holds two types, the whole of it more.
  EXPECT_GE(types_seen.size(), goldens.size() > 2 ? 12u : 2u);
}

}  // namespace
}  // namespace geist
