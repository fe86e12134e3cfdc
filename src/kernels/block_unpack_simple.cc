// Blocks of 32 weights with one scale and, for Q4_1 and Q5_1, one offset.
#include "kernels/block_layout.h"

namespace geist::kernels {
namespace {

// Bits 4 of the 32 codes of Q5_0 and Q5_1, merged into their low nibbles, less `zero`.
void unpack_five_bits(const uint8_t* q, const uint8_t* qh, int zero, int8_t* codes) {
  const uint32_t high = load_u32(qh);
  for (int j = 0; j < 16; ++j) {
    const uint32_t low_bit = (high >> j) & 1, high_bit = (high >> (j + 16)) & 1;
    codes[j] = static_cast<int8_t>(static_cast<int>((q[j] & 15u) | (low_bit << 4)) - zero);
    codes[16 + j] = static_cast<int8_t>(static_cast<int>((q[j] >> 4) | (high_bit << 4)) - zero);
  }
}

void unpack_nibbles(const uint8_t* q, int zero, int8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<int8_t>((q[j] & 15) - zero);
    codes[16 + j] = static_cast<int8_t>((q[j] >> 4) - zero);
  }
}

}  // namespace

void unpack_block_q4_0(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockQ4_0*>(block);
  scales[0] = b.d.value();
  unpack_nibbles(b.q, 8, codes);
}

void unpack_block_q4_1(const uint8_t* block, int8_t* codes, float* scales, float* offsets) {
  const auto& b = *reinterpret_cast<const BlockQ4_1*>(block);
  scales[0] = b.d.value();
  offsets[0] = b.m.value();
  unpack_nibbles(b.q, 0, codes);
}

void unpack_block_q5_0(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockQ5_0*>(block);
  scales[0] = b.d.value();
  unpack_five_bits(b.q, b.qh, 16, codes);
}

void unpack_block_q5_1(const uint8_t* block, int8_t* codes, float* scales, float* offsets) {
  const auto& b = *reinterpret_cast<const BlockQ5_1*>(block);
  scales[0] = b.d.value();
  offsets[0] = b.m.value();
  unpack_five_bits(b.q, b.qh, 0, codes);
}

void unpack_block_q8_0(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const auto& b = *reinterpret_cast<const BlockQ8_0*>(block);
  scales[0] = b.d.value();
  std::memcpy(codes, b.q, 32);
}

}  // namespace geist::kernels
