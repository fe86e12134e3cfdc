// What it costs to compute a page again, as measured: seconds = a * tokens + b * sum of positions,
// by least squares over the passes so far, older ones fading. Only the choice of what to evict
// depends on it.
#pragma once

#include <cstdint>

namespace geist::engine {

class PrefillCost {
 public:
  void add(double tokens, double depth_sum, double seconds) {
    constexpr double kFade = 0.98;
    tt_ = kFade * tt_ + tokens * tokens;
    td_ = kFade * td_ + tokens * depth_sum;
    dd_ = kFade * dd_ + depth_sum * depth_sum;
    ts_ = kFade * ts_ + tokens * seconds;
    ds_ = kFade * ds_ + depth_sum * seconds;
  }

  // Of `tokens` tokens at about position `depth`. A guess before the first measurement.
  double seconds(double tokens, double depth) const {
    constexpr double kGuess = 1e-2, kDepthGuess = 1e-6;
    if (tt_ <= 0) return tokens * (kGuess + kDepthGuess * depth);
    const double determinant = tt_ * dd_ - td_ * td_;
    double a = ts_ / tt_, b = 0;
    if (determinant > 1e-6 * tt_ * dd_) {
      const double slope = (tt_ * ds_ - td_ * ts_) / determinant;
      if (slope > 0) {
        b = slope;
        a = (ts_ - b * td_) / tt_;
      }
    }
    if (a < 0) a = 0;
    return tokens * (a + b * depth);
  }

 private:
  double tt_ = 0, td_ = 0, dd_ = 0, ts_ = 0, ds_ = 0;
};

}  // namespace geist::engine
