// The K formats: blocks of 256 weights, a scale (and offset) of each sub-block of 16 or 32 as a
// small integer times the block's f16.
//
// Every scale here is an f16 (11 significant bits) times an integer of at most 8 bits, so the
// product is exact in f32, and so is its product with a code: an order of multiplication cannot
// change a bit.
#include "kernels/block_layout.h"

namespace geist::kernels {
namespace {

// Two bits a code, 128 weights from 32 bytes: bits 2k, 2k + 1 of byte l are code 32k + l.
void unpack_two_bits(const uint8_t* q, int8_t* codes) {
  for (int k = 0; k < 4; ++k) {
    for (int l = 0; l < 32; ++l) codes[32 * k + l] = static_cast<int8_t>((q[l] >> (2 * k)) & 3);
  }
}

// The 16 scales of Q3_K, 6 bits each, as stored (not yet less 32): low 4 bits in the halves of
// bytes 0..7, high 2 bits in the quarters of bytes 8..11.
int q3_k_scale(const uint8_t packed[12], int i) {
  const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
  const int high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
  return low | (high << 4);
}

// Scales and offsets of Q4_K and Q5_K. The file subtracts its offsets.
void unpack_scales(const F16Bytes& d, const F16Bytes& dmin, const uint8_t packed[12], float* scales,
                   float* offsets) {
  const float block_scale = d.value(), block_offset = dmin.value();
  const ScalesK4 k = unpack_scales_k4(packed);
  for (int i = 0; i < 8; ++i) {
    scales[i] = block_scale * static_cast<float>(k.scale[i]);
    offsets[i] = -(block_offset * static_cast<float>(k.offset[i]));
  }
}

}  // namespace

void unpack_block_q2_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets) {
  const auto& b = *reinterpret_cast<const BlockQ2_K*>(block);
  const float d = b.d.value(), dmin = b.dmin.value();
  for (int i = 0; i < 16; ++i) {
    scales[i] = d * static_cast<float>(b.scales[i] & 15);
    offsets[i] = -(dmin * static_cast<float>(b.scales[i] >> 4));
  }
  unpack_two_bits(b.q, codes);
  unpack_two_bits(b.q + 32, codes + 128);
}

void unpack_block_q3_k(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockQ3_K*>(block);
  const float d = b.d.value();
  for (int i = 0; i < 16; ++i) scales[i] = d * static_cast<float>(q3_k_scale(b.scales, i) - 32);
  unpack_two_bits(b.q, codes);
  unpack_two_bits(b.q + 32, codes + 128);
  for (int s = 0; s < 8; ++s) {
    for (int l = 0; l < 32; ++l) {
      const int high = ((b.qh[l] >> s) & 1) << 2;
      codes[32 * s + l] = static_cast<int8_t>(codes[32 * s + l] + high - 4);
    }
  }
}

void unpack_block_q4_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets) {
  const auto& b = *reinterpret_cast<const BlockQ4_K*>(block);
  unpack_scales(b.d, b.dmin, b.scales, scales, offsets);
  for (int pair = 0; pair < 4; ++pair) {
    const uint8_t* q = b.q + 32 * pair;
    for (int l = 0; l < 32; ++l) {
      codes[64 * pair + l] = static_cast<int8_t>(q[l] & 15);
      codes[64 * pair + 32 + l] = static_cast<int8_t>(q[l] >> 4);
    }
  }
}

void unpack_block_q5_k(const uint8_t* block, int8_t* codes, float* scales, float* offsets) {
  const auto& b = *reinterpret_cast<const BlockQ5_K*>(block);
  unpack_scales(b.d, b.dmin, b.scales, scales, offsets);
  for (int pair = 0; pair < 4; ++pair) {
    const uint8_t* q = b.q + 32 * pair;
    for (int l = 0; l < 32; ++l) {
      const int high = b.qh[l] >> (2 * pair);
      codes[64 * pair + l] = static_cast<int8_t>((q[l] & 15) | ((high & 1) << 4));
      codes[64 * pair + 32 + l] = static_cast<int8_t>((q[l] >> 4) | ((high & 2) << 3));
    }
  }
}

void unpack_block_q6_k(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockQ6_K*>(block);
  const float d = b.d.value();
  for (int i = 0; i < 16; ++i) scales[i] = d * static_cast<float>(b.scales[i]);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* q = b.q + 64 * half;
    const uint8_t* qh = b.qh + 32 * half;
    int8_t* out = codes + 128 * half;
    for (int l = 0; l < 64; ++l) {
      const int low_pair = qh[l % 32] >> (2 * (l / 32));
      out[l] = static_cast<int8_t>(((q[l] & 15) | ((low_pair & 3) << 4)) - 32);
      out[64 + l] = static_cast<int8_t>(((q[l] >> 4) | (((low_pair >> 4) & 3) << 4)) - 32);
    }
  }
}

}  // namespace geist::kernels
