#include "engine/speculation_cost.h"

#include <algorithm>
#include <cmath>

namespace geist::engine {
namespace {

constexpr double kNew = 0.25;     // weight of a new measurement of time
constexpr double kMemory = 0.95;  // what a round leaves of older rounds
// Before anything was seen: how likely drafts of each class are accepted, worth that many drafts.
constexpr double kPrior[] = {0.45, 0.6, 0.75, 0.85};
constexpr double kPriorDrafts = 4;
// Before anything was measured: what a further token adds to a pass.
constexpr double kTokenShare = 0.3;
constexpr double kLossShare = 0.015, kLossPasses = 0.5;
constexpr double kGainMin = 1.02;  // drafts that promise less are left alone

void fade_in(double& mean, double value) {
  mean = mean == 0 ? value : mean + kNew * (value - mean);
}

}  // namespace

void SpeculationCost::passed(int32_t tokens, double seconds) {
  if (tokens < 1 || tokens > kDraftMax + 1) return;
  work_s_ += seconds;
  // A pass that another program held up says little: at most twice what was expected counts.
  double& mean = pass_s_[static_cast<size_t>(tokens)];
  fade_in(mean, mean == 0 ? seconds : std::min(seconds, 2 * mean));
}

double SpeculationCost::pass_s(int32_t tokens) const {
  const auto at = static_cast<size_t>(tokens);
  if (pass_s_[at] > 0) return pass_s_[at];
  const double one = pass_s_[1];
  if (one == 0) return 1 + kTokenShare * (tokens - 1);  // any unit will do
  size_t below = at, above = at;
  while (below > 1 && pass_s_[below] == 0) --below;
  while (above + 1 < pass_s_.size() && pass_s_[above] == 0) ++above;
  const double low = pass_s_[below], high = pass_s_[above];
  if (high > 0)
    return low +
           (high - low) * static_cast<double>(at - below) / static_cast<double>(above - below);
  const double slope =
      below > 1 ? std::max(low - one, 0.0) / static_cast<double>(below - 1) : kTokenShare * one;
  return low + slope * static_cast<double>(at - below);
}

double SpeculationCost::acceptance(int32_t draft_class) const {
  const auto c = static_cast<size_t>(draft_class);
  return (accepted_[c] + kPrior[c] * kPriorDrafts) / (offered_[c] + kPriorDrafts);
}

void SpeculationCost::verified(int32_t draft_class, int32_t k, int32_t accepted, double draft_s,
                               double verify_s) {
  // Drafts after the first refusal were not tried.
  const auto c = static_cast<size_t>(draft_class);
  accepted_[c] = accepted_[c] * kMemory + accepted;
  offered_[c] = offered_[c] * kMemory + std::min(accepted + 1, k);
  fade_in(draft_s_, draft_s / k);
  // Accepted drafts saved a pass each.
  const double one = pass_s_[1];
  if (one > 0) gained_s_ += one * (accepted + 1) - std::min(verify_s, 2 * pass_s(1 + k)) - draft_s;
  // Old wins do not pay for losses without end.
  gained_s_ = std::min(gained_s_, 6 * one);
}

int32_t SpeculationCost::choose(int32_t draft_class, int32_t limit) const {
  const double one = pass_s(1);
  if (pass_s_[1] == 0) return 0;  // the first pass of all measures
  const double credit = gained_s_ + kLossShare * work_s_ + kLossPasses * one;
  const double p = acceptance(draft_class);
  int32_t best = 0;
  double best_rate = kGainMin / one, expected = 1, all = 1;
  for (int32_t k = 1; k <= std::min(limit, kDraftMax); ++k) {
    all *= p;
    expected += all;
    const double cost = pass_s(1 + k) + draft_s_ * k;
    if (cost - one > credit) break;
    const double rate = expected / cost;
    if (rate > best_rate) {
      best_rate = rate;
      best = k;
    }
  }
  return best;
}

}  // namespace geist::engine
