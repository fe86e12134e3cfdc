// The search behind the encoders: scales (and offsets) of one sub-block that minimise a weighted
// squared error. Internal to the quantize_*.cc files.
//
// For fixed codes the best scale and offset follow from a least-squares problem in closed form;
// codes follow from a scale by rounding. The search tries a fan of scales around the one that maps
// the extremes onto the ends of the code range, solves the closed form for the codes each gives,
// and keeps the best. The same idea as the encoders in ggml (K formats by I. Kawrakow, llama.cpp
// pull request 1684, 2023).
//
// Sums run over 8 lanes and one fixed tree, so that the result does not depend on the compiler, and
// yet vectorises.
#pragma once

#include <cstdint>

namespace geist::kernels {

// To the nearest integer, ties to even, for |x| < 2^22: the addition leaves no room for a fraction.
inline float round_even(float x) {
  constexpr float kMagic = 0x1.8p23f;
  return (x + kMagic) - kMagic;
}

inline float clamp_code(float x, float low, float high) {
  x = x > low ? x : low;  // a NaN becomes low
  return x < high ? x : high;
}

class Lanes {
 public:
  void add(int lane, float x) { sum_[lane] += x; }
  float total() const {
    return ((sum_[0] + sum_[4]) + (sum_[2] + sum_[6])) +
           ((sum_[1] + sum_[5]) + (sum_[3] + sum_[7]));
  }

 private:
  float sum_[8] = {};
};

// weight ~ scale * code + offset
struct Affine {
  float scale = 0, offset = 0;
};

// Code range and fan of an affine format: scales (code_max + d) / range for `steps` values of d
// from `first`, 0.1 apart.
struct AffineSearch {
  float code_max, first;
  int steps;
  bool free_offset = false;  // otherwise the format cannot store an offset above 0
};

// Codes in [0, code_max] for a scale and an offset.
template <int kCount>
void affine_codes(const float* x, float inverse, float offset, float code_max, float* codes) {
  for (int i = 0; i < kCount; ++i) {
    codes[i] = round_even(clamp_code(inverse * (x[i] - offset), 0, code_max));
  }
}

// The scale and offset (at most 0 unless free) that fit given codes best, and how much of the
// weighted square of x they explain: the larger, the smaller the error. sum_w, sum_wx: of the
// weights and of weight
// * x.
template <int kCount>
float solve_affine(const float* x, const float* w, const float* codes, double sum_w, double sum_wx,
                   bool free_offset, Affine* fit) {
  Lanes wq, wqq, wqx;
  for (int i = 0; i < kCount; i += 8) {
    for (int j = 0; j < 8; ++j) {
      const float weighted = w[i + j] * codes[i + j];
      wq.add(j, weighted);
      wqq.add(j, weighted * codes[i + j]);
      wqx.add(j, weighted * x[i + j]);
    }
  }
  const double sum_wq = wq.total(), sum_wqq = wqq.total(), sum_wqx = wqx.total();
  const double determinant = sum_w * sum_wqq - sum_wq * sum_wq;
  if (!(determinant > 0)) return -1;
  double scale = (sum_w * sum_wqx - sum_wx * sum_wq) / determinant;
  double offset = (sum_wqq * sum_wx - sum_wq * sum_wqx) / determinant;
  if (offset > 0 && !free_offset) {
    offset = 0;
    scale = sum_wqx / sum_wqq;
  }
  if (!(scale > 0)) return -1;
  *fit = {static_cast<float>(scale), static_cast<float>(offset)};
  return static_cast<float>(scale * sum_wqx + offset * sum_wx);
}

// The offset that fits best when codes and scale are given.
template <int kCount>
float best_offset(const float* x, const float* w, const float* codes, float scale) {
  Lanes lanes_w, lanes_wr;
  for (int i = 0; i < kCount; i += 8) {
    for (int j = 0; j < 8; ++j) {
      lanes_w.add(j, w[i + j]);
      lanes_wr.add(j, w[i + j] * (x[i + j] - scale * codes[i + j]));
    }
  }
  return lanes_w.total() > 0 ? lanes_wr.total() / lanes_w.total() : 0;
}

constexpr int kRefineRounds = 4;

// w: weights of the error, positive. All x finite.
template <int kCount>
Affine search_affine(const float* x, const float* w, const AffineSearch& search) {
  float low = search.free_offset ? x[0] : 0, high = x[0];
  Lanes lanes_w, lanes_wx;
  for (int i = 0; i < kCount; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    lanes_w.add(i % 8, w[i]);
    lanes_wx.add(i % 8, w[i] * x[i]);
  }
  const float range = high - low;
  if (!(range > 0x1p-100f)) return {0, low};  // constant, or nearly: its inverse may overflow
  const double sum_w = lanes_w.total(), sum_wx = lanes_wx.total();
  Affine best{range / search.code_max, low};
  float best_explained = -1;
  float codes[kCount];
  const auto keep_if_better = [&](float inverse, float offset) {
    affine_codes<kCount>(x, inverse, offset, search.code_max, codes);
    Affine fit;
    const float explained =
        solve_affine<kCount>(x, w, codes, sum_w, sum_wx, search.free_offset, &fit);
    if (!(explained > best_explained)) return false;
    best_explained = explained;
    best = fit;
    return true;
  };
  for (int step = 0; step < search.steps; ++step) {
    const float levels = search.code_max + search.first + 0.1f * static_cast<float>(step);
    keep_if_better(levels / (high - best.offset), best.offset);
  }
  // Alternate between codes and fit from the best start: each round can only lower the error.
  for (int round = 0; round < kRefineRounds && best.scale > 0; ++round) {
    if (!keep_if_better(1 / best.scale, best.offset)) break;
  }
  return best;
}

// Codes in [-code_max - 1, code_max] for a scale.
template <int kCount>
void symmetric_codes(const float* x, float inverse, float code_max, float* codes) {
  for (int i = 0; i < kCount; ++i) {
    codes[i] = round_even(clamp_code(inverse * x[i], -code_max - 1, code_max));
  }
}

// The best scale (of either sign) for weight ~ scale * code, codes in [-code_max - 1, code_max]:
// the fan maps the largest magnitude onto -(code_max + 1 + d), d from -first to first, 0.1 apart. 0
// when all of x is (nearly) 0.
template <int kCount>
float search_symmetric(const float* x, const float* w, float code_max, int first_tenths) {
  float extreme = 0;
  for (int i = 0; i < kCount; ++i) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    const float largest = extreme < 0 ? -extreme : extreme;
    extreme = magnitude > largest ? x[i] : extreme;
  }
  if (!(extreme > 0x1p-60f || extreme < -0x1p-60f)) return 0;
  float best = 0, best_explained = -1;
  float codes[kCount];
  for (int tenths = -first_tenths; tenths <= first_tenths; ++tenths) {
    const float inverse = -(code_max + 1 + 0.1f * static_cast<float>(tenths)) / extreme;
    symmetric_codes<kCount>(x, inverse, code_max, codes);
    Lanes wqq, wqx;
    for (int i = 0; i < kCount; i += 8) {
      for (int j = 0; j < 8; ++j) {
        const float weighted = w[i + j] * codes[i + j];
        wqq.add(j, weighted * codes[i + j]);
        wqx.add(j, weighted * x[i + j]);
      }
    }
    const double sum_wqq = wqq.total(), sum_wqx = wqx.total();
    if (!(sum_wqq > 0)) continue;
    const auto explained = static_cast<float>(sum_wqx * sum_wqx / sum_wqq);
    if (explained > best_explained) {
      best_explained = explained;
      best = static_cast<float>(sum_wqx / sum_wqq);
    }
  }
  return best;
}

}  // namespace geist::kernels
