// The learning rate of each step: a linear warm-up, then constant, a half cosine, or
// warm-up-stable-decay (Hu et al., arXiv:2404.06395).
#pragma once

#include <cstdint>

namespace geist::train {

enum class ScheduleKind { kConstant, kCosine, kStableDecay };

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  int64_t steps = 1000;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;  // of kStableDecay, at the end
  double final_ratio = 0.1;

  // The factor on the learning rate of step 0 <= step < steps.
  double factor(int64_t step) const;
};

}  // namespace geist::train
