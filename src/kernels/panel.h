// Packed panels: the form in which a quantised matrix is multiplied.
//
// A panel is 16 rows of the matrix, one row a 32-bit lane, so the product needs no horizontal
// operation: lane r of every vector belongs to row r from the first weight to the last. Along a row
// weights are taken in chunks of 32 columns, a chunk in 8 groups of 4. The 4 codes of group g
// of row r fill the 4 bytes of lane r, and meet one broadcast dword of 4 activation codes in
// one multiply-add instruction (vpdpbusd or its equivalents).
//
// Codes are stored unsigned and compact, as planes of the chunk (512 codes):
//
//   low 8 bits   512 B   vector g          = group g
//   low 4 bits   256 B   vector j (0..3)   = group j in the low nibbles, group 4 + j in the high
//   ones low 2 bits   128 B   vector i (0..1)   = group i + 2f in bits 2f, 2f + 1 high 2 bits  128
//   B   the same high 1 bit    64 B   bit g             = group g
//
// A stored code is low | high << low_bits, looked up in a table of 16 where the format has one;
// what remains is the operand of the product, an unsigned byte: canonical code (block.h) + bias.
//
// A chunk is: low plane, high plane, then its scales. Formats of 32-weight blocks have
// d[16] (and m[16]) as f16. Formats of 256-weight blocks have d[16] (and dmin[16]) as f16 before
// each 8 chunks, and in each chunk for every sub-block one byte a row: int8 sc[16] (and mn[16]), or
// the two as nibbles of one byte. Then scale = (d * d_factor) * sc and offset = -(dmin * mn), equal
// to unpack_row's to the bit, since all these products are exact in f32. Most formats take exactly
// the bytes they take in the file.
//
// Order of accumulation: docs/numerics.md, "Quantised products".
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor_type.h"

namespace geist::kernels {

inline constexpr int kPanelRows = 16;
inline constexpr int kChunkCols = 32;
inline constexpr int kChunksPerSuper = 8;

enum class PanelScales : uint8_t { kF16, kBytes, kNibbles };

struct PanelFormat {
  int low_bits = 0, high_bits = 0;
  int bias = 0;      // operand - canonical code; 0 or a power of two
  int max_code = 0;  // largest operand
  int group = 32;    // sub-block size, 16 or 32
  bool offset = false;
  PanelScales scales = PanelScales::kF16;
  float d_factor = 1;
  bool has_lut = false;
  // Whether several tokens and panels at a time get kernels of their own in decode. Only for the
  // formats that people run most: each such kernel costs the compiler a second.
  bool common = false;
  uint8_t lut[16] = {};  // stored code -> operand

  // constexpr where the kernels need them, and inlined by force: nothing of this header may be
  // compiled into a file of a special instruction set and be shared from there.
  [[gnu::always_inline]] constexpr bool super() const { return scales != PanelScales::kF16; }
  [[gnu::always_inline]] constexpr int low_bytes() const { return 64 * low_bits; }
  [[gnu::always_inline]] constexpr int high_bytes() const { return 64 * high_bits; }
  [[gnu::always_inline]] constexpr int scale_bytes() const {
    if (!super()) return offset ? 64 : 32;
    const int per_group = scales == PanelScales::kBytes && offset ? 32 : 16;
    return 32 / group * per_group;
  }
  [[gnu::always_inline]] constexpr int chunk_bytes() const {
    return low_bytes() + high_bytes() + scale_bytes();
  }
  [[gnu::always_inline]] constexpr int header_bytes() const {
    return !super() ? 0 : offset ? 64 : 32;
  }
};

// Bytes of one panel of 16 rows of `cols` weights (a multiple of the type's block size). 0 for
// types that have no panels.
int64_t panel_bytes(TensorType type, int64_t cols);

// The layout of a type; its low_bits is 0 for types that have no panels.
const PanelFormat& panel_format(TensorType type);

namespace internal {

constexpr PanelFormat signed_magnitudes(int low_bits, int high_bits, int group, float d_factor,
                                        const int* magnitudes, int count) {
  PanelFormat f{.low_bits = low_bits,
                .high_bits = high_bits,
                .group = group,
                .scales = PanelScales::kBytes,
                .d_factor = d_factor,
                .has_lut = true};
  f.bias = magnitudes[count - 1] < 16 ? 16 : 64;
  f.max_code = f.bias + magnitudes[count - 1];
  const int half = 1 << (low_bits + high_bits - 1);
  for (int i = 0; i < count; ++i) {
    f.lut[i] = static_cast<uint8_t>(f.bias + magnitudes[i]);
    f.lut[half + i] = static_cast<uint8_t>(f.bias - magnitudes[i]);
  }
  return f;
}

constexpr PanelFormat iq4_format(PanelScales scales) {
  constexpr int values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
  PanelFormat f{.low_bits = 4, .bias = 128, .max_code = 241, .scales = scales, .has_lut = true};
  for (int i = 0; i < 16; ++i) f.lut[i] = static_cast<uint8_t>(values[i] + 128);
  return f;
}

constexpr PanelFormat make_panel_format(TensorType type) {
  constexpr int iq2[3] = {8, 25, 43};
  constexpr int iq3_xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
  constexpr int iq3_s[8] = {1, 3, 5, 7, 9, 11, 13, 15};
  constexpr PanelScales bytes = PanelScales::kBytes;
  switch (type) {
    case TensorType::kQ4_0:
      return {.low_bits = 4, .bias = 8, .max_code = 15, .common = true};
    case TensorType::kQ4_1:
      return {.low_bits = 4, .max_code = 15, .offset = true};
    case TensorType::kQ5_0:
      return {.low_bits = 4, .high_bits = 1, .bias = 16, .max_code = 31};
    case TensorType::kQ5_1:
      return {.low_bits = 4, .high_bits = 1, .max_code = 31, .offset = true};
    case TensorType::kQ8_0:
      return {.low_bits = 8, .bias = 128, .max_code = 255, .common = true};
    case TensorType::kQ2_K:
      return {.low_bits = 2,
              .max_code = 3,
              .group = 16,
              .offset = true,
              .scales = PanelScales::kNibbles};
    case TensorType::kQ3_K:
      return {
          .low_bits = 2, .high_bits = 1, .bias = 4, .max_code = 7, .group = 16, .scales = bytes};
    case TensorType::kQ4_K:
      return {.low_bits = 4, .max_code = 15, .offset = true, .scales = bytes, .common = true};
    case TensorType::kQ5_K:
      return {.low_bits = 4, .high_bits = 1, .max_code = 31, .offset = true, .scales = bytes};
    case TensorType::kQ6_K:
      return {
          .low_bits = 4, .high_bits = 2, .bias = 32, .max_code = 63, .group = 16, .scales = bytes};
    case TensorType::kIQ4_NL:
      return iq4_format(PanelScales::kF16);
    case TensorType::kIQ4_XS:
      return iq4_format(bytes);
    case TensorType::kIQ2_XXS:
      return signed_magnitudes(2, 1, 32, 0.125f, iq2, 3);
    case TensorType::kIQ2_XS:
    case TensorType::kIQ2_S:
      return signed_magnitudes(2, 1, 16, 0.125f, iq2, 3);
    case TensorType::kIQ3_XXS:
      return signed_magnitudes(4, 0, 32, 0.25f, iq3_xxs, 8);
    case TensorType::kIQ3_S:
      return signed_magnitudes(4, 0, 32, 1.0f, iq3_s, 8);
    default:
      return {};
  }
}

}  // namespace internal

template <TensorType kType>
inline constexpr PanelFormat kPanelFormat = internal::make_panel_format(kType);

}  // namespace geist::kernels

// Calls M(type) for every type that has panels.
#define GEIST_FOR_EACH_PANEL_TYPE(M) \
  M(kQ4_0)                           \
  M(kQ4_1)                           \
  M(kQ5_0)                           \
  M(kQ5_1)                           \
  M(kQ8_0)                           \
  M(kQ2_K)                           \
  M(kQ3_K)                           \
  M(kQ4_K)                           \
  M(kQ5_K) M(kQ6_K) M(kIQ2_XXS) M(kIQ2_XS) M(kIQ2_S) M(kIQ3_XXS) M(kIQ3_S) M(kIQ4_NL) M(kIQ4_XS)
