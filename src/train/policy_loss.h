// The arithmetic of policy gradients: advantages, the clipped ratio, the divergence from a
// reference and its price. In double, one order of evaluation; derivatives are by log-probabilities
// and values.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace geist::train {

// ---- advantages

// Of a group's answers to one prompt (GRPO; Shao et al., arXiv:2402.03300): reward - mean, divided
// by the standard deviation (of the whole group) when `scaled`. All 0 for a group without variance.
void group_advantages(std::span<const double> rewards, bool scaled, std::span<double> advantages);

// REINFORCE leave-one-out (Ahmadian et al., arXiv:2402.14740): reward - mean of the others. A group
// of two at least.
void leave_one_out_advantages(std::span<const double> rewards, std::span<double> advantages);

bool has_variance(std::span<const double> rewards);

// Generalised advantage estimation (Schulman et al., arXiv:1506.02438) over an answer that ends
// behind its last token. returns[t] = advantages[t] + values[t].
void generalised_advantages(std::span<const double> rewards, std::span<const double> values,
                            double discount, double lambda, std::span<double> advantages,
                            std::span<double> returns);

// To mean 0 and deviation 1.
void whiten(std::span<double> values);

// ---- losses of a token

struct TokenLoss {
  double loss = 0, d = 0;
  bool clipped = false;
};

struct ClipRange {
  double low = 0.2, high = 0.2;  // the ratio stays in [1 - low, 1 + high]
};
// Proximal policy optimisation (Schulman et al., arXiv:1707.06347): -min(ratio A, clip(ratio) A).
TokenLoss policy_loss(double log_probability, double old_log_probability, double advantage,
                      const ClipRange& clip);

// The k3 estimate of KL(policy || reference) (Schulman, "Approximating KL divergence", 2020):
// exp(r) - r - 1 with r = reference - policy; never negative, 0 exactly where both agree.
TokenLoss kl_loss(double log_probability, double reference);

// 1/2 max((v - R)^2, (clip(v, old +- range) - R)^2); range 0: not clipped.
TokenLoss value_loss(double value, double old_value, double target, double range);

// The price of divergence that is steered towards a target (Ziegler et al., arXiv:1909.08593):
// price *= 1 + clip(kl / target - 1, -0.2, 0.2) * answers / horizon.
double adapt_kl_price(double price, double kl, double target, double answers, double horizon);

}  // namespace geist::train
