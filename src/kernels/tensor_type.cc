#include "kernels/tensor_type.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/check.h"
#include "base/checked.h"

namespace geist::kernels {
namespace {

// Block bytes are sums of the fields listed in block_layout.h, where each is checked against this
// table.
constexpr TensorTypeInfo kTypes[] = {
    {TensorType::kF32, "F32", 1, 4},
    {TensorType::kF16, "F16", 1, 2},
    {TensorType::kQ4_0, "Q4_0", 32, 18},
    {TensorType::kQ4_1, "Q4_1", 32, 20},
    {TensorType::kQ5_0, "Q5_0", 32, 22},
    {TensorType::kQ5_1, "Q5_1", 32, 24},
    {TensorType::kQ8_0, "Q8_0", 32, 34},
    {TensorType::kQ2_K, "Q2_K", 256, 84},
    {TensorType::kQ3_K, "Q3_K", 256, 110},
    {TensorType::kQ4_K, "Q4_K", 256, 144},
    {TensorType::kQ5_K, "Q5_K", 256, 176},
    {TensorType::kQ6_K, "Q6_K", 256, 210},
    {TensorType::kIQ2_XXS, "IQ2_XXS", 256, 66},
    {TensorType::kIQ2_XS, "IQ2_XS", 256, 74},
    {TensorType::kIQ3_XXS, "IQ3_XXS", 256, 98},
    {TensorType::kIQ4_NL, "IQ4_NL", 32, 18},
    {TensorType::kIQ3_S, "IQ3_S", 256, 110},
    {TensorType::kIQ2_S, "IQ2_S", 256, 82},
    {TensorType::kIQ4_XS, "IQ4_XS", 256, 136},
    {TensorType::kI32, "I32", 1, 4},
    {TensorType::kBF16, "BF16", 1, 2},
};

constexpr uint32_t kNumberMax = 30;

// Index into kTypes by the format's number; -1 for numbers that are not supported.
constexpr auto kIndex = [] {
  std::array<int8_t, kNumberMax + 1> index{};
  index.fill(-1);
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    index[static_cast<uint32_t>(kTypes[i].type)] = static_cast<int8_t>(i);
  }
  return index;
}();

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::toupper(x) == std::toupper(y);
  });
}

}  // namespace

std::optional<TensorTypeInfo> tensor_type_info(uint32_t number) {
  if (number > kNumberMax || kIndex[number] < 0) return std::nullopt;
  return kTypes[kIndex[number]];
}

const TensorTypeInfo& tensor_type_info(TensorType type) {
  const auto number = static_cast<uint32_t>(type);
  GEIST_CHECK(number <= kNumberMax && kIndex[number] >= 0);
  return kTypes[kIndex[number]];
}

std::optional<TensorType> tensor_type_from_name(std::string_view name) {
  for (const TensorTypeInfo& info : kTypes) {
    if (equal_ignoring_case(info.name, name)) return info.type;
  }
  return std::nullopt;
}

std::optional<int64_t> row_bytes(TensorType type, int64_t cols) {
  const TensorTypeInfo& info = tensor_type_info(type);
  if (cols < 0 || cols % info.block_size != 0) return std::nullopt;
  return checked_mul<int64_t>(cols / info.block_size, info.block_bytes);
}

}  // namespace geist::kernels
