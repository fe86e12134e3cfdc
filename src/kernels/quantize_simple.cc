// Encoders of the formats with one scale for 32 weights.
#include <cmath>

#include "kernels/quantize.h"
#include "kernels/quantize_search.h"

namespace geist::kernels {

// The same bytes as ggml's encoder: the largest magnitude becomes +-127, codes are rounded half
// away from zero against the scale before it is stored as f16.
void quantize_block_q8_0(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ8_0*>(block);
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(x[i]));
  const float d = largest / 127;
  const float inverse = d != 0 ? 1 / d : 0;
  b.d = F16Bytes::saturated(d);
  for (int i = 0; i < 32; ++i) {
    const float scaled = clamp_code(x[i] * inverse, -127, 127);
    b.q[i] = static_cast<uint8_t>(static_cast<int>(scaled + std::copysign(0.5f, scaled)));
  }
}

void quantize_block_q4_0(const float* x, uint8_t* block) {
  auto& b = *reinterpret_cast<BlockQ4_0*>(block);
  float w[32];
  for (int i = 0; i < 32; ++i) w[i] = 1;
  b.d = F16Bytes::saturated(search_symmetric<32>(x, w, 7, 9));
  const float d = b.d.value();
  float codes[32];
  symmetric_codes<32>(x, d != 0 ? 1 / d : 0, 7, codes);
  for (int j = 0; j < 16; ++j) {
    const int low = static_cast<int>(codes[j]) + 8, high = static_cast<int>(codes[j + 16]) + 8;
    b.q[j] = static_cast<uint8_t>(low | (high << 4));
  }
}

}  // namespace geist::kernels
