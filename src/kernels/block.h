// Quantised rows as one canonical form. Every quantised format of GGUF is a row of codes in
// sub-blocks of 16 or 32 weights, each with a float scale and, for some, a float offset:
//
//   weight = scale * code + offset   (code: int8, scale and offset: f32; product rounded, then sum)
//
// unpack_row() is the single definition of each format: dequantisation, the packed panels of the
// matrix product (panel.h) and every test derive from it. All scales are exact in f32 (an f16 times
// a small integer), so the form loses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/tensor_type.h"

namespace geist::kernels {

// Sub-block size of the canonical form: 16 for Q2_K, Q3_K, Q6_K, IQ2_XS, IQ2_S; 32 for the others.
int32_t group_size(TensorType type);
// Whether the format has offsets: Q4_1, Q5_1, Q2_K, Q4_K, Q5_K.
bool has_offset(TensorType type);

// codes[cols], scales[cols / group_size], offsets[same] (may be null when !has_offset(type)).
// cols is a multiple of the block size. src need not be aligned.
void unpack_row(TensorType type, const std::byte* src, int64_t cols, int8_t* codes, float* scales,
                float* offsets);

// Any type to f32, quantised or not; equal to the bit with ggml's to_float.
void dequantize_row(TensorType type, const std::byte* src, int64_t cols, float* dst);

// f32 to F32, F16, BF16, Q8_0, Q4_0, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K (checked). Deterministic. Values
// that are not finite are stored as 0 in quantised types. dst has row_bytes(type, cols) bytes.
bool can_quantize(TensorType type);
void quantize_row(TensorType type, const float* src, int64_t cols, std::byte* dst);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);  // round to nearest even; overflow gives infinity
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);  // round to nearest even; NaN stays quiet NaN

}  // namespace geist::kernels
