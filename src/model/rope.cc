#include "model/rope.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/math.h"

namespace geist::model {
namespace {

using kernels::det_log;
using kernels::det_pow;

constexpr double kAngleMax = 0x1p30;  // where det_sin's range ends; only a hostile file comes near
constexpr double kTwoPi = 6.283185307179586476925286766559;

// The pair index whose wavelength makes `rotations` turns over the original context (YaRN,
// section 3.2).
double yarn_pair(const RopeConfig& c, double freq_base, double rotations) {
  return c.dims * det_log(c.original_context / (rotations * kTwoPi)) / (2.0 * det_log(freq_base));
}

// 1 where a pair keeps its frequency (extrapolation), 0 where it is interpolated, linear in
// between.
double yarn_extrapolation(double low, double high, int64_t pair) {
  const double y = (static_cast<double>(pair) - low) / std::max(0.001, high - low);
  return 1.0 - std::clamp(y, 0.0, 1.0);
}

double yarn_magnitude(double factor, double multiplier) {
  return factor <= 1.0 ? 1.0 : 1.0 + 0.1 * multiplier * det_log(factor);
}

}  // namespace

RopeFrequencies make_rope_frequencies(const RopeConfig& c, double freq_base,
                                      std::span<const float> divisors) {
  const int64_t pairs = c.dims / 2;
  GEIST_CHECK(divisors.empty() || static_cast<int64_t>(divisors.size()) == pairs);
  const bool yarn = c.scaling == RopeScaling::kYarn;
  double low = 0.0, high = 0.0;
  if (yarn) {
    // floor and ceil of our own numbers: exact operations, the same everywhere.
    low = std::max(0.0, std::floor(yarn_pair(c, freq_base, c.yarn_beta_fast)));
    high = std::min(c.dims - 1.0, std::ceil(yarn_pair(c, freq_base, c.yarn_beta_slow)));
  }
  RopeFrequencies out;
  for (int64_t i = 0; i < pairs; ++i) {
    double extrapolated = det_pow(freq_base, -2.0 * static_cast<double>(i) / c.dims);
    if (!divisors.empty()) extrapolated /= double{divisors[static_cast<size_t>(i)]};
    const double interpolated = extrapolated / c.factor;
    const double mix = yarn ? yarn_extrapolation(low, high, i) : 0.0;
    out.per_pair.push_back(interpolated * (1.0 - mix) + extrapolated * mix);
  }
  out.magnitude = c.attention_factor;
  if (yarn) {
    out.magnitude *= yarn_magnitude(c.factor, 1.0);
    if (c.yarn_log_multiplier != 0.0)
      out.magnitude /= yarn_magnitude(c.factor, c.yarn_log_multiplier);
  }
  return out;
}

void rope_row(const RopeFrequencies& f, int32_t pos, float* cos, float* sin) {
  for (size_t i = 0; i < f.per_pair.size(); ++i) {
    const double angle = std::min(f.per_pair[i] * pos, kAngleMax);
    cos[i] = static_cast<float>(kernels::det_cos(angle) * f.magnitude);
    sin[i] = static_cast<float>(kernels::det_sin(angle) * f.magnitude);
  }
}

std::vector<float> alibi_slopes(int32_t heads, float bias_max) {
  int32_t power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<float> slopes;
  for (int32_t h = 0; h < heads; ++h) {
    const double exponent =
        h < power ? (h + 1.0) / power : (2.0 * (h - power) + 1.0) / (2.0 * power);
    slopes.push_back(static_cast<float>(det_pow(2.0, -double{bias_max} * exponent)));
  }
  return slopes;
}

}  // namespace geist::model
