// The number formats of GGUF tensors. The numbers are the file format's (GGUF specification,
// "ggml_type"), the block layouts are stated in block.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace geist::kernels {

enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI32 = 26,
  kBF16 = 30,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;  // "Q4_K", as gguf tools spell it
  int32_t block_size;     // weights in a block: 1, 32 or 256
  int32_t block_bytes;
};

// Nothing for a number that is not a supported type.
std::optional<TensorTypeInfo> tensor_type_info(uint32_t number);
const TensorTypeInfo& tensor_type_info(TensorType type);
std::optional<TensorType> tensor_type_from_name(std::string_view name);

inline bool is_quantized(TensorType type) { return tensor_type_info(type).block_size > 1; }

// Bytes of a row of `cols` weights; nothing when cols is negative, not a multiple of the block
// size, or the product overflows.
std::optional<int64_t> row_bytes(TensorType type, int64_t cols);

}  // namespace geist::kernels
