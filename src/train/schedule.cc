#include "train/schedule.h"

#include <algorithm>

#include "kernels/math.h"

namespace geist::train {

double Schedule::factor(int64_t step) const {
  constexpr double kPi = 3.141592653589793;
  if (step < warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  if (kind == ScheduleKind::kConstant) return 1.0;
  const bool cosine = kind == ScheduleKind::kCosine;
  const int64_t begin = cosine ? warmup_steps : std::max(warmup_steps, steps - decay_steps);
  if (step < begin || steps <= begin) return 1.0;
  const double done =
      std::min(1.0, static_cast<double>(step - begin) / static_cast<double>(steps - begin));
  const double left = cosine ? 0.5 * (1.0 + kernels::det_cos(kPi * done)) : 1.0 - done;
  return final_ratio + (1.0 - final_ratio) * left;
}

}  // namespace geist::train
