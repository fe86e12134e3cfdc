// Rotary position embedding: the frequency of each rotated pair, and tables of cos and sin for the
// positions of a batch. Extensions: linear interpolation (Chen et al., arXiv:2306.15595), YaRN
// (Peng et al., arXiv:2309.00071), and per-pair divisors as Llama 3.1 (rope_freqs) and LongRoPE
// (Ding et al., arXiv:2402.13753) ship them as tensors. Everything is double precision and rounded
// to f32 once, so a table entry is a pure function of (frequencies, position).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"

namespace geist::model {

struct RopeFrequencies {
  std::vector<double> per_pair;  // radians for each position step, [dims / 2]
  double magnitude = 1.0;        // multiplies cos and sin

  int64_t pairs() const { return static_cast<int64_t>(per_pair.size()); }
};

// divisors: [dims / 2] or empty. freq_base is given apart from the rest because local layers have
// their own.
RopeFrequencies make_rope_frequencies(const RopeConfig& config, double freq_base,
                                      std::span<const float> divisors);

// cos[pairs], sin[pairs] of one position.
void rope_row(const RopeFrequencies& frequencies, int32_t pos, float* cos, float* sin);

// ALiBi slopes, one for each head (Press et al., arXiv:2108.12409): powers of 2^(-bias_max / n) for
// the largest power of two n <= heads; the other heads take odd powers of half that exponent.
std::vector<float> alibi_slopes(int32_t heads, float bias_max);

}  // namespace geist::model
