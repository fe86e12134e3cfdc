// Losses against the formulas of the papers, written again with the C library, and derivatives
// against differences of those.
#include "train/preference_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

namespace geist::train {
namespace {

double difference(const std::function<double(double)>& f, double x) {
  const double h = 1e-6;
  return (f(x + h) - f(x - h)) / (2 * h);
}
double reference_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Likely, unlikely and close pairs.
const AnswerLogs kChosen[] = {{-10, -12, 5}, {-80, -20, 9}, {-3, -3, 1}};
const AnswerLogs kRejected[] = {{-30, -11, 7}, {-7, -9, 4}, {-3, -3, 2}};

TEST(PreferenceLoss, SigmoidsAreExactOnBothSidesAndNeverOverflow) {
  for (const double x : {-30.0, -2.0, 0.0, 0.5, 30.0}) {
    EXPECT_NEAR(sigmoid(x), reference_sigmoid(x), 1e-15);
    EXPECT_NEAR(log_sigmoid(x), -std::log1p(std::exp(-x)), 1e-14 * (1 + std::abs(x)));
  }
  EXPECT_EQ(sigmoid(0), 0.5);
  EXPECT_EQ(log_sigmoid(-1e6), -1e6);
  EXPECT_EQ(sigmoid(-1e6), 0);
  EXPECT_EQ(sigmoid(1e6), 1);
}

TEST(PreferenceLoss, OfPairsMatchTheirPapers) {
  const double beta = 0.3;
  for (const AnswerLogs& c : kChosen) {
    for (const AnswerLogs& r : kRejected) {
      for (const double smoothing : {0.0, 0.1}) {
        const auto dpo = [&](double pc, double pr) {
          const double m = beta * ((pc - c.reference) - (pr - r.reference));
          return -(1 - smoothing) * std::log(reference_sigmoid(m)) -
                 smoothing * std::log(reference_sigmoid(-m));
        };
        const PairLoss out = dpo_loss(c, r, beta, smoothing);
        EXPECT_NEAR(out.loss, dpo(c.policy, r.policy), 1e-9);
        EXPECT_NEAR(out.d_chosen, difference([&](double x) { return dpo(x, r.policy); }, c.policy),
                    1e-6);
        EXPECT_NEAR(out.d_rejected,
                    difference([&](double x) { return dpo(c.policy, x); }, r.policy), 1e-6);
      }
      const auto ipo = [&](double pc, double pr) {
        return std::pow((pc - c.reference) / static_cast<double>(c.tokens) -
                            (pr - r.reference) / static_cast<double>(r.tokens) - 1 / (2 * beta),
                        2);
      };
      const PairLoss out = ipo_loss(c, r, beta);
      EXPECT_NEAR(out.loss, ipo(c.policy, r.policy), 1e-9);
      EXPECT_NEAR(out.d_chosen, difference([&](double x) { return ipo(x, r.policy); }, c.policy),
                  1e-5);
      EXPECT_NEAR(out.d_rejected, difference([&](double x) { return ipo(c.policy, x); }, r.policy),
                  1e-5);
    }
  }
}

TEST(PreferenceLoss, OfSingleAnswersMatchesItsPaper) {
  for (const AnswerLogs& a : kChosen) {
    for (const bool desirable : {true, false}) {
      const double beta = 0.2, kl = 1.5, weight = 0.7;
      const auto kto = [&](double p) {
        const double h = p - a.reference;
        return weight * (1 - reference_sigmoid(beta * (desirable ? h - kl : kl - h)));
      };
      const AnswerLoss out = kto_loss(a, desirable, kl, beta, weight);
      EXPECT_NEAR(out.loss, kto(a.policy), 1e-12);
      EXPECT_NEAR(out.d, difference(kto, a.policy), 1e-8);
    }
  }
}

TEST(PreferenceLoss, OfRankingsIsPlackettLuce) {
  const std::vector<double> rewards = {0.4, -1.0, 2.5, 0.0};
  const auto reference = [&](std::vector<double> r) {
    double loss = 0;
    for (size_t i = 0; i + 1 < r.size(); ++i) {
      double total = 0;
      for (size_t j = i; j < r.size(); ++j) total += std::exp(r[j]);
      loss -= std::log(std::exp(r[i]) / total);
    }
    return loss;
  };
  std::vector<double> d(rewards.size());
  EXPECT_NEAR(ranking_loss(rewards, d), reference(rewards), 1e-12);
  for (size_t i = 0; i < rewards.size(); ++i) {
    const auto moved = [&](double x) {
      auto r = rewards;
      r[i] = x;
      return reference(r);
    };
    EXPECT_NEAR(d[i], difference(moved, rewards[i]), 1e-8);
  }
  // Of two it is Bradley-Terry.
  const std::vector<double> two = {1.25, -0.5};
  d.resize(2);
  EXPECT_NEAR(ranking_loss(two, d), -std::log(reference_sigmoid(1.75)), 1e-14);
  EXPECT_NEAR(d[0], -reference_sigmoid(-1.75), 1e-14);
}

}  // namespace
}  // namespace geist::train
