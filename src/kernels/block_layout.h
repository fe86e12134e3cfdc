// The bytes of one block of each quantised format, as the file holds them: arrays of bytes only, so
// the structs have no padding and no alignment and may be laid over any address. Little-endian.
// Internal to the block_*.cc and quantize_*.cc files; others see the canonical form (block.h).
//
// Names: d is the f16 scale of the block, dmin (or m) the f16 scale of its offsets, q the low bits
// of the codes, qh their high bits. "Nibbles of 32" means byte j holds code j in its low half and
// code j + 16 in its high half.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/block.h"

namespace geist::kernels {

struct F16Bytes {
  uint8_t bytes[2];
  float value() const {
    return f16_to_f32(static_cast<uint16_t>(bytes[0] | (static_cast<uint32_t>(bytes[1]) << 8)));
  }
  // Nearest f16, at most the largest finite one: a scale that becomes infinite would turn codes of
  // 0 into NaN.
  static F16Bytes saturated(float value) {
    constexpr float kF16Max = 65504;
    const uint16_t bits = f32_to_f16(value > kF16Max    ? kF16Max
                                     : value < -kF16Max ? -kF16Max
                                                        : value);
    return {{static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)}};
  }
};

inline uint32_t load_u16(const uint8_t* p) { return p[0] | (static_cast<uint32_t>(p[1]) << 8); }
inline uint32_t load_u32(const uint8_t* p) { return load_u16(p) | (load_u16(p + 2) << 16); }

// ---- blocks of 32 weights
struct BlockQ4_0 {
  F16Bytes d;
  uint8_t q[16];  // nibbles of 32; weight = d * (code - 8)
};
struct BlockQ4_1 {
  F16Bytes d, m;
  uint8_t q[16];  // nibbles of 32; weight = d * code + m
};
struct BlockQ5_0 {
  F16Bytes d;
  uint8_t qh[4];  // bit j: bit 4 of code j
  uint8_t q[16];  // nibbles of 32; weight = d * (code - 16)
};
struct BlockQ5_1 {
  F16Bytes d, m;
  uint8_t qh[4];
  uint8_t q[16];  // weight = d * code + m
};
struct BlockQ8_0 {
  F16Bytes d;
  uint8_t q[32];  // two's complement; weight = d * code
};
struct BlockIQ4_NL {
  F16Bytes d;
  uint8_t q[16];  // nibbles of 32, indices into kIq4Levels
};

// ---- blocks of 256 weights
struct BlockQ2_K {
  uint8_t scales[16];  // of sub-block i: scale in the low half, offset in the high half
  uint8_t
      q[64];  // half h (128 weights) has bytes 32h..32h+31; bits 2k, 2k+1 of byte l: code 32k + l
  F16Bytes d, dmin;  // weight = d * scale * code - dmin * offset
};
struct BlockQ3_K {
  uint8_t qh[32];      // bit 4h + k of byte l: bit 2 of code 128h + 32k + l
  uint8_t q[64];       // as in Q2_K
  uint8_t scales[12];  // 16 of 6 bits: see unpack_block_q3_k
  F16Bytes d;          // weight = d * (scale - 32) * (code - 4)
};
struct BlockQ4_K {
  F16Bytes d, dmin;
  uint8_t scales[12];  // 8 scales and 8 offsets of 6 bits: see unpack_scales_k4
  uint8_t q[128];      // 32 bytes for 64 weights: low halves first, then high halves
};
struct BlockQ5_K {
  F16Bytes d, dmin;
  uint8_t scales[12];  // as in Q4_K
  uint8_t qh[32];      // bit s of byte l: bit 4 of code 32s + l
  uint8_t q[128];      // as in Q4_K
};
struct BlockQ6_K {
  uint8_t q[128];  // half h: bytes 64h..; byte l < 64: codes l (low half) and 64 + l (high half)
  uint8_t qh[64];  // half h: bytes 32h..; bits 2k, 2k+1 of byte l: bits 4, 5 of code 32k + l
  int8_t scales[16];
  F16Bytes d;  // weight = d * scale * (code - 32)
};
struct BlockIQ2_XXS {
  F16Bytes d;
  uint8_t q[64];  // per 32 weights: 4 grid indices, then u32: 4 sign words of 7 bits, 4-bit scale
};
struct BlockIQ2_XS {
  F16Bytes d;
  uint8_t q[64];      // per 8 weights a u16: 9-bit grid index, 7-bit sign word
  uint8_t scales[8];  // per 32 weights: two of 4 bits
};
struct BlockIQ2_S {
  F16Bytes d;
  uint8_t q[32];      // per 8 weights: low 8 bits of the grid index
  uint8_t signs[32];  // per 8 weights: one bit each
  uint8_t qh[8];      // per 32 weights: 4 times the high 2 bits of the index
  uint8_t scales[8];
};
struct BlockIQ3_XXS {
  F16Bytes d;
  uint8_t q[64];             // per 4 weights a grid index
  uint8_t scales_signs[32];  // per 32 weights a u32 as in IQ2_XXS
};
struct BlockIQ3_S {
  F16Bytes d;
  uint8_t q[64];      // per 4 weights: low 8 bits of the grid index
  uint8_t qh[8];      // per 32 weights: 8 times the high bit
  uint8_t signs[32];  // per 8 weights: one bit each
  uint8_t scales[4];  // per 32 weights 4 bits
};
struct BlockIQ4_XS {
  F16Bytes d;
  uint8_t scales_h[2];  // per 32 weights the high 2 bits of a 6-bit scale
  uint8_t scales_l[4];  // per 32 weights its low 4 bits
  uint8_t q[128];       // per 32 weights 16 bytes as in IQ4_NL
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockIQ2_XXS) == 66 && sizeof(BlockIQ2_XS) == 74 && sizeof(BlockIQ2_S) == 82);
static_assert(sizeof(BlockIQ3_XXS) == 98 && sizeof(BlockIQ3_S) == 110);

// ---- the 12 bytes of scales of Q4_K and Q5_K: 8 pairs (scale, offset) of 6 bits.
// Pairs 0..3: the low 6 bits of bytes 0..3 and 4..7. Pairs 4..7: low 4 bits in the halves of bytes
// 8..11, high 2 bits in the top of bytes 0..3 (scales) and 4..7 (offsets).
struct ScalesK4 {
  uint8_t scale[8], offset[8];
};

inline ScalesK4 unpack_scales_k4(const uint8_t packed[12]) {
  ScalesK4 out;
  for (int i = 0; i < 4; ++i) {
    const uint8_t low = packed[i], middle = packed[4 + i], high = packed[8 + i];
    out.scale[i] = low & 63;
    out.offset[i] = middle & 63;
    out.scale[4 + i] = static_cast<uint8_t>((high & 15) | ((low >> 6) << 4));
    out.offset[4 + i] = static_cast<uint8_t>((high >> 4) | ((middle >> 6) << 4));
  }
  return out;
}

inline void pack_scales_k4(const ScalesK4& in, uint8_t packed[12]) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(in.scale[i] | ((in.scale[4 + i] >> 4) << 6));
    packed[4 + i] = static_cast<uint8_t>(in.offset[i] | ((in.offset[4 + i] >> 4) << 6));
    packed[8 + i] = static_cast<uint8_t>((in.scale[4 + i] & 15) | ((in.offset[4 + i] & 15) << 4));
  }
}

// ---- unpackers of one block: codes[block_size], scales and offsets [block_size / group_size].
// offsets is not touched by formats without offsets.
using UnpackBlock = void (*)(const uint8_t* block, int8_t* codes, float* scales, float* offsets);

void unpack_block_q4_0(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q4_1(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q5_0(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q5_1(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q8_0(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q2_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q3_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q4_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q5_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_q6_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq2_xxs(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq2_xs(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq2_s(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq3_xxs(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq3_s(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq4_nl(const uint8_t* block, int8_t* codes, float* scales, float* offsets);
void unpack_block_iq4_xs(const uint8_t* block, int8_t* codes, float* scales, float* offsets);

}  // namespace geist::kernels
