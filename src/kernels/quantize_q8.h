// Activations to 8 bits: docs/numerics.md, "8-bit activations". x[cols] -> cols / 32 blocks.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace geist::kernels {

void quantize_q8_scalar(const float* x, int64_t cols, Q8Block* out);
void quantize_q8_avx2(const float* x, int64_t cols, Q8Block* out);
void quantize_q8_neon(const float* x, int64_t cols, Q8Block* out);

}  // namespace geist::kernels
