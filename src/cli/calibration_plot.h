// A picture of whether the differences of rewards mean what they say.
#pragma once

#include <string>

#include "train/reward_objective.h"

namespace geist::cli {

// Of held-out pairs: how often the better-rewarded answer is the better one, over how sure the
// rewards are of it. On the diagonal both agree.
std::string calibration_plot(const train::RewardQuality& quality);

}  // namespace geist::cli
