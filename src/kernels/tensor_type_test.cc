#include "kernels/tensor_type.h"

#include <gtest/gtest.h>

#include <limits>

namespace geist::kernels {
namespace {

TEST(TensorType, NumbersAreTheFileFormats) {
  EXPECT_EQ(tensor_type_info(0u)->name, "F32");
  EXPECT_EQ(tensor_type_info(12u)->name, "Q4_K");
  EXPECT_EQ(tensor_type_info(30u)->name, "BF16");
  for (const uint32_t number : {4u, 5u, 9u, 15u, 19u, 24u, 25u, 27u, 29u, 31u, 39u, 0xffffffffu}) {
    EXPECT_FALSE(tensor_type_info(number)) << number;
  }
}

TEST(TensorType, NamesRoundTripInAnyCase) {
  for (uint32_t number = 0; number < 64; ++number) {
    const auto info = tensor_type_info(number);
    if (!info) continue;
    EXPECT_EQ(tensor_type_from_name(info->name), info->type);
    EXPECT_EQ(tensor_type_info(info->type).name, info->name);
  }
  EXPECT_EQ(tensor_type_from_name("iq2_xxs"), TensorType::kIQ2_XXS);
  EXPECT_FALSE(tensor_type_from_name("Q4_K_M"));  // a mix of types, not a type
  EXPECT_FALSE(tensor_type_from_name(""));
}

TEST(TensorType, RowBytes) {
  EXPECT_EQ(row_bytes(TensorType::kF32, 3), 12);
  EXPECT_EQ(row_bytes(TensorType::kQ4_0, 64), 36);
  EXPECT_EQ(row_bytes(TensorType::kQ6_K, 0), 0);
  EXPECT_FALSE(row_bytes(TensorType::kQ4_0, 33));
  EXPECT_FALSE(row_bytes(TensorType::kQ4_K, 128));
  EXPECT_FALSE(row_bytes(TensorType::kF32, -1));
  EXPECT_FALSE(row_bytes(TensorType::kF32, std::numeric_limits<int64_t>::max()));
}

}  // namespace
}  // namespace geist::kernels
