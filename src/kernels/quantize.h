// Encoders of one block. Internal to block.cc and quantize_*.cc; others call quantize_row().
#pragma once

#include <cstdint>

#include "kernels/block_layout.h"

namespace geist::kernels {

// x: block_size finite values whose squares and sums of squares are finite in f32 (block.cc sees to
// both). block: all block_bytes are written.
using QuantizeBlock = void (*)(const float* x, uint8_t* block);

void quantize_block_q4_0(const float* x, uint8_t* block);
void quantize_block_q5_0(const float* x, uint8_t* block);
void quantize_block_q5_1(const float* x, uint8_t* block);
void quantize_block_q8_0(const float* x, uint8_t* block);
void quantize_block_q4_k(const float* x, uint8_t* block);
void quantize_block_q5_k(const float* x, uint8_t* block);
void quantize_block_q6_k(const float* x, uint8_t* block);

}  // namespace geist::kernels
