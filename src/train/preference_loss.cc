#include "train/preference_loss.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/math.h"

namespace geist::train {

using kernels::det_exp;
using kernels::det_log;

double log_sigmoid(double x) {
  return x >= 0 ? -det_log(1 + det_exp(-x)) : x - det_log(1 + det_exp(x));
}

double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + det_exp(-x));
  const double e = det_exp(x);
  return e / (1 + e);
}

PairLoss dpo_loss(const AnswerLogs& chosen, const AnswerLogs& rejected, double beta,
                  double smoothing) {
  const double margin = beta * (chosen.ratio() - rejected.ratio());
  PairLoss out{.margin = margin};
  out.loss = -(1 - smoothing) * log_sigmoid(margin) - smoothing * log_sigmoid(-margin);
  const double d = beta * (smoothing * sigmoid(margin) - (1 - smoothing) * sigmoid(-margin));
  out.d_chosen = d;
  out.d_rejected = -d;
  return out;
}

PairLoss ipo_loss(const AnswerLogs& chosen, const AnswerLogs& rejected, double beta) {
  const auto tokens = [](const AnswerLogs& a) { return static_cast<double>(a.tokens); };
  const double h = chosen.ratio() / tokens(chosen) - rejected.ratio() / tokens(rejected);
  const double off = h - 1 / (2 * beta);
  return {.loss = off * off,
          .d_chosen = 2 * off / tokens(chosen),
          .d_rejected = -2 * off / tokens(rejected),
          .margin = beta * h};
}

AnswerLoss kto_loss(const AnswerLogs& answer, bool desirable, double kl, double beta,
                    double weight) {
  const double sign = desirable ? 1 : -1;
  const double z = sign * beta * (answer.ratio() - kl);
  return {.loss = weight * sigmoid(-z), .d = -weight * sign * beta * sigmoid(z) * sigmoid(-z)};
}

double ranking_loss(std::span<const double> rewards, std::span<double> d) {
  GEIST_CHECK(rewards.size() == d.size() && rewards.size() >= 2);
  std::fill(d.begin(), d.end(), 0.0);
  double loss = 0;
  for (size_t i = 0; i + 1 < rewards.size(); ++i) {
    const auto rest = rewards.subspan(i);
    const double top = *std::max_element(rest.begin(), rest.end());
    double total = 0;
    for (const double r : rest) total += det_exp(r - top);
    loss += det_log(total) - (rewards[i] - top);
    for (size_t j = i; j < rewards.size(); ++j) d[j] += det_exp(rewards[j] - top) / total;
    d[i] -= 1;
  }
  return loss;
}

}  // namespace geist::train
