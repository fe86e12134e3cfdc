#include "train/policy_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

namespace geist::train {
namespace {

using Doubles = std::vector<double>;

double difference(const std::function<double(double)>& f, double x) {
  const double h = 1e-6;
  return (f(x + h) - f(x - h)) / (2 * h);
}

TEST(PolicyLoss, AdvantagesOfGroups) {
  const Doubles rewards = {1, 0, 0, 1, 1, 0, 0, 1};
  Doubles a(rewards.size());
  group_advantages(rewards, true, a);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_DOUBLE_EQ(a[i], rewards[i] * 2 - 1);
  group_advantages(rewards, false, a);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_DOUBLE_EQ(a[i], rewards[i] - 0.5);
  leave_one_out_advantages(rewards, a);
  EXPECT_DOUBLE_EQ(a[0], 1 - 3.0 / 7);
  EXPECT_DOUBLE_EQ(a[1], 0 - 4.0 / 7);
  // A group whose answers are all as good teaches nothing, exactly.
  const Doubles same(5, 0.1);
  a.assign(5, 9);
  EXPECT_FALSE(has_variance(same));
  group_advantages(same, true, a);
  EXPECT_EQ(a, Doubles(5, 0.0));
  leave_one_out_advantages(same, a);
  EXPECT_EQ(a, Doubles(5, 0.0));
}

// Against the definition: the sum over k of (discount lambda)^k times the error at t + k.
TEST(PolicyLoss, GeneralisedAdvantages) {
  const Doubles r = {0.5, 0, -1, 2}, v = {0.25, 1, -0.5, 0.75};
  const double discount = 0.9, lambda = 0.8;
  Doubles a(4), returns(4);
  generalised_advantages(r, v, discount, lambda, a, returns);
  for (size_t t = 0; t < 4; ++t) {
    double sum = 0;
    for (size_t k = t; k < 4; ++k) {
      const double next = k + 1 < 4 ? v[k + 1] : 0;
      sum +=
          std::pow(discount * lambda, static_cast<double>(k - t)) * (r[k] + discount * next - v[k]);
    }
    EXPECT_NEAR(a[t], sum, 1e-14);
    EXPECT_DOUBLE_EQ(returns[t], a[t] + v[t]);
  }
  whiten(a);
  double mean = 0, square = 0;
  for (const double x : a) mean += x / 4, square += x * x / 4;
  EXPECT_NEAR(mean, 0, 1e-14);
  EXPECT_NEAR(square, 1, 1e-7);
}

TEST(PolicyLoss, TheClippedRatioAndItsDerivative) {
  const ClipRange clip{0.2, 0.3};
  for (const double old : {-1.0, -1.1, -1.6, -0.5}) {
    for (const double advantage : {2.0, -2.0}) {
      const double p = -1.0;
      const auto reference = [&](double x) {
        const double ratio = std::exp(x - old), kept = std::min(std::max(ratio, 0.8), 1.3);
        return -std::min(ratio * advantage, kept * advantage);
      };
      const TokenLoss out = policy_loss(p, old, advantage, clip);
      EXPECT_NEAR(out.loss, reference(p), 1e-12);
      EXPECT_NEAR(out.d, difference(reference, p), 1e-8);
      EXPECT_EQ(out.clipped, out.d == 0);
    }
  }
  EXPECT_TRUE(policy_loss(0, -1, 1, clip).clipped);    // has risen enough
  EXPECT_FALSE(policy_loss(0, -1, -1, clip).clipped);  // has risen and should not have
  // Before the first update the ratio is 1 to the bit: the plain policy gradient.
  EXPECT_EQ(policy_loss(-3.7, -3.7, 0.6, clip).d, -0.6);
  EXPECT_TRUE(std::isfinite(policy_loss(0, -1e6, -1, clip).loss));
}

TEST(PolicyLoss, DivergenceIsZeroExactlyWhereBothAgree) {
  EXPECT_EQ(kl_loss(-3.3, -3.3).loss, 0);
  EXPECT_EQ(kl_loss(-3.3, -3.3).d, 0);
  for (const double reference : {-4.0, -1.0, -0.2}) {
    const auto k3 = [&](double p) { return std::exp(reference - p) - (reference - p) - 1; };
    EXPECT_NEAR(kl_loss(-0.7, reference).loss, k3(-0.7), 1e-12);
    EXPECT_NEAR(kl_loss(-0.7, reference).d, difference(k3, -0.7), 1e-8);
    EXPECT_GT(kl_loss(-0.7, reference).loss, 0);
  }
}

TEST(PolicyLoss, ValuesAreClippedAroundTheOldOnes) {
  for (const double value : {0.1, 0.4, -0.4, 1.0}) {
    for (const double target : {0.0, 0.35, -2.0, 2.0}) {
      const auto reference = [&](double v) {
        const double kept = std::min(std::max(v, -0.2), 0.2);
        return 0.5 * std::max((v - target) * (v - target), (kept - target) * (kept - target));
      };
      const TokenLoss out = value_loss(value, 0.0, target, 0.2);
      EXPECT_NEAR(out.loss, reference(value), 1e-12);
      EXPECT_NEAR(out.d, difference(reference, value), 1e-6);
    }
  }
  EXPECT_EQ(value_loss(3, 0, 1, 0).d, 2);
}

TEST(PolicyLoss, ThePriceOfDivergenceIsSteered) {
  EXPECT_DOUBLE_EQ(adapt_kl_price(0.1, 6, 6, 32, 1000), 0.1);
  EXPECT_DOUBLE_EQ(adapt_kl_price(0.1, 100, 6, 100, 1000), 0.1 * 1.02);
  EXPECT_DOUBLE_EQ(adapt_kl_price(0.1, 0, 6, 100, 1000), 0.1 * 0.98);
}

}  // namespace
}  // namespace geist::train
