#include "train/policy_loss.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/math.h"

namespace geist::train {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

double deviation_of(std::span<const double> values, double mean) {
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Far from any ratio that learning survives, and finite.
double ratio_of(double difference) { return kernels::det_exp(std::clamp(difference, -50.0, 50.0)); }

}  // namespace

bool has_variance(std::span<const double> rewards) {
  if (rewards.empty()) return false;
  return std::any_of(rewards.begin(), rewards.end(), [&](double r) { return r != rewards[0]; });
}

void group_advantages(std::span<const double> rewards, bool scaled, std::span<double> advantages) {
  GEIST_CHECK(rewards.size() == advantages.size() && !rewards.empty());
  if (!has_variance(rewards)) return std::fill(advantages.begin(), advantages.end(), 0.0);
  const double mean = mean_of(rewards);
  const double scale = scaled ? 1 / deviation_of(rewards, mean) : 1.0;
  for (size_t i = 0; i < rewards.size(); ++i) advantages[i] = (rewards[i] - mean) * scale;
}

void leave_one_out_advantages(std::span<const double> rewards, std::span<double> advantages) {
  GEIST_CHECK(rewards.size() == advantages.size() && rewards.size() >= 2);
  if (!has_variance(rewards)) return std::fill(advantages.begin(), advantages.end(), 0.0);
  double sum = 0;
  for (const double r : rewards) sum += r;
  const auto others = static_cast<double>(rewards.size() - 1);
  for (size_t i = 0; i < rewards.size(); ++i)
    advantages[i] = rewards[i] - (sum - rewards[i]) / others;
}

void generalised_advantages(std::span<const double> rewards, std::span<const double> values,
                            double discount, double lambda, std::span<double> advantages,
                            std::span<double> returns) {
  double next_value = 0, next_advantage = 0;
  for (size_t t = rewards.size(); t-- > 0;) {
    const double error = rewards[t] + discount * next_value - values[t];
    next_advantage = error + discount * lambda * next_advantage;
    advantages[t] = next_advantage;
    returns[t] = next_advantage + values[t];
    next_value = values[t];
  }
}

void whiten(std::span<double> values) {
  if (values.empty()) return;
  const double mean = mean_of(values), deviation = deviation_of(values, mean);
  for (double& v : values) v = (v - mean) / (deviation + 1e-8);
}

TokenLoss policy_loss(double log_probability, double old_log_probability, double advantage,
                      const ClipRange& clip) {
  const double ratio = ratio_of(log_probability - old_log_probability);
  const double clipped = std::clamp(ratio, 1 - clip.low, 1 + clip.high);
  if (clipped * advantage < ratio * advantage)
    return {.loss = -clipped * advantage, .d = 0, .clipped = true};
  return {.loss = -ratio * advantage, .d = -ratio * advantage};
}

TokenLoss kl_loss(double log_probability, double reference) {
  const double r = reference - log_probability;
  const double ratio = ratio_of(r);
  return {.loss = ratio - r - 1, .d = 1 - ratio};
}

TokenLoss value_loss(double value, double old_value, double target, double range) {
  const double off = value - target;
  const TokenLoss plain{.loss = 0.5 * off * off, .d = off};
  if (range <= 0) return plain;
  const double kept = std::clamp(value, old_value - range, old_value + range) - target;
  if (kept * kept > off * off) return {.loss = 0.5 * kept * kept, .d = 0, .clipped = true};
  return plain;
}

double adapt_kl_price(double price, double kl, double target, double answers, double horizon) {
  const double error = std::clamp(kl / target - 1, -0.2, 0.2);
  return price * (1 + error * answers / horizon);
}

}  // namespace geist::train
