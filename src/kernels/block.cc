// Dispatch over the formats: one row of a table each. Layouts are in block_layout.h.
#include "kernels/block.h"

#include <cmath>

#include "base/check.h"
#include "kernels/block_layout.h"
#include "kernels/quantize.h"

namespace geist::kernels {
namespace {

constexpr int kBlockSizeMax = 256;
constexpr int kGroupsMax = 16;

struct Format {
  TensorType type;
  int32_t group_size;
  bool has_offset;
  UnpackBlock unpack;
  QuantizeBlock quantize = nullptr;
};

constexpr Format kFormats[] = {
    {TensorType::kQ4_0, 32, false, unpack_block_q4_0, quantize_block_q4_0},
    {TensorType::kQ4_1, 32, true, unpack_block_q4_1},
    {TensorType::kQ5_0, 32, false, unpack_block_q5_0, quantize_block_q5_0},
    {TensorType::kQ5_1, 32, true, unpack_block_q5_1, quantize_block_q5_1},
    {TensorType::kQ8_0, 32, false, unpack_block_q8_0, quantize_block_q8_0},
    {TensorType::kQ2_K, 16, true, unpack_block_q2_k},
    {TensorType::kQ3_K, 16, false, unpack_block_q3_k},
    {TensorType::kQ4_K, 32, true, unpack_block_q4_k, quantize_block_q4_k},
    {TensorType::kQ5_K, 32, true, unpack_block_q5_k, quantize_block_q5_k},
    {TensorType::kQ6_K, 16, false, unpack_block_q6_k, quantize_block_q6_k},
    {TensorType::kIQ2_XXS, 32, false, unpack_block_iq2_xxs},
    {TensorType::kIQ2_XS, 16, false, unpack_block_iq2_xs},
    {TensorType::kIQ2_S, 16, false, unpack_block_iq2_s},
    {TensorType::kIQ3_XXS, 32, false, unpack_block_iq3_xxs},
    {TensorType::kIQ3_S, 32, false, unpack_block_iq3_s},
    {TensorType::kIQ4_NL, 32, false, unpack_block_iq4_nl},
    {TensorType::kIQ4_XS, 32, false, unpack_block_iq4_xs},
};

const Format& format_of(TensorType type) {
  for (const Format& format : kFormats) {
    if (format.type == type) return format;
  }
  internal::check_failed(__FILE__, __LINE__, "not a quantised type");
}

const uint8_t* as_bytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }
uint8_t* as_bytes(std::byte* p) { return reinterpret_cast<uint8_t*>(p); }

// weight = scale * code + offset over one block.
void dequantize_block(const Format& format, int32_t block_size, const uint8_t* block, float* dst) {
  int8_t codes[kBlockSizeMax];
  float scales[kGroupsMax], offsets[kGroupsMax];
  format.unpack(block, codes, scales, offsets);
  for (int32_t i = 0; i < block_size; i += format.group_size) {
    const int32_t group = i / format.group_size;
    const float scale = scales[group];
    for (int32_t j = i; j < i + format.group_size; ++j)
      dst[j] = scale * static_cast<float>(codes[j]);
    if (!format.has_offset) continue;  // adding +0 would turn -0 into +0
    for (int32_t j = i; j < i + format.group_size; ++j) dst[j] += offsets[group];
  }
}

// The encoders need squares and their sums to be finite. The largest value that any quantised
// format can hold is below 2^32 (Q6_K: 65504 * 128 * 32).
constexpr float kEncodeMax = 0x1p32f;

void copy_encodable(const float* src, int32_t count, float* dst) {
  for (int32_t i = 0; i < count; ++i) {
    const float x = std::isfinite(src[i]) ? src[i] : 0;
    dst[i] = x > kEncodeMax ? kEncodeMax : x < -kEncodeMax ? -kEncodeMax : x;
  }
}

void narrow_to_u16(const float* src, int64_t cols, uint16_t (*narrow)(float), uint8_t* dst) {
  for (int64_t i = 0; i < cols; ++i) {
    const uint16_t bits = narrow(src[i]);
    dst[2 * i] = static_cast<uint8_t>(bits);
    dst[2 * i + 1] = static_cast<uint8_t>(bits >> 8);
  }
}

void widen_u16(const uint8_t* src, int64_t cols, float (*widen)(uint16_t), float* dst) {
  for (int64_t i = 0; i < cols; ++i) {
    dst[i] = widen(static_cast<uint16_t>(load_u16(src + 2 * i)));
  }
}

}  // namespace

int32_t group_size(TensorType type) { return format_of(type).group_size; }

bool has_offset(TensorType type) { return format_of(type).has_offset; }

void unpack_row(TensorType type, const std::byte* src, int64_t cols, int8_t* codes, float* scales,
                float* offsets) {
  const TensorTypeInfo& info = tensor_type_info(type);
  const Format& format = format_of(type);
  GEIST_CHECK(cols % info.block_size == 0);
  GEIST_CHECK(!format.has_offset || offsets != nullptr);
  const int32_t groups = info.block_size / format.group_size;
  const uint8_t* block = as_bytes(src);
  for (int64_t i = 0; i < cols; i += info.block_size) {
    format.unpack(block, codes, scales, offsets);
    block += info.block_bytes;
    codes += info.block_size;
    scales += groups;
    if (format.has_offset) offsets += groups;
  }
}

void dequantize_row(TensorType type, const std::byte* src, int64_t cols, float* dst) {
  const TensorTypeInfo& info = tensor_type_info(type);
  if (type == TensorType::kF32) {
    std::memcpy(dst, src, static_cast<size_t>(cols) * sizeof(float));
  } else if (type == TensorType::kF16) {
    widen_u16(as_bytes(src), cols, f16_to_f32, dst);
  } else if (type == TensorType::kBF16) {
    widen_u16(as_bytes(src), cols, bf16_to_f32, dst);
  } else {
    GEIST_CHECK(cols % info.block_size == 0);
    const Format& format = format_of(type);
    const uint8_t* block = as_bytes(src);
    for (int64_t i = 0; i < cols; i += info.block_size, block += info.block_bytes) {
      dequantize_block(format, info.block_size, block, dst + i);
    }
  }
}

bool can_quantize(TensorType type) {
  if (type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16)
    return true;
  return is_quantized(type) && format_of(type).quantize != nullptr;
}

void quantize_row(TensorType type, const float* src, int64_t cols, std::byte* dst) {
  GEIST_CHECK(can_quantize(type));
  if (type == TensorType::kF32) {
    std::memcpy(dst, src, static_cast<size_t>(cols) * sizeof(float));
  } else if (type == TensorType::kF16) {
    narrow_to_u16(src, cols, f32_to_f16, as_bytes(dst));
  } else if (type == TensorType::kBF16) {
    narrow_to_u16(src, cols, f32_to_bf16, as_bytes(dst));
  } else {
    const TensorTypeInfo& info = tensor_type_info(type);
    GEIST_CHECK(cols % info.block_size == 0);
    const Format& format = format_of(type);
    uint8_t* block = as_bytes(dst);
    for (int64_t i = 0; i < cols; i += info.block_size, block += info.block_bytes) {
      float values[kBlockSizeMax];
      copy_encodable(src + i, info.block_size, values);
      format.quantize(values, block);
    }
  }
}

}  // namespace geist::kernels
