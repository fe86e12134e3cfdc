#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "engine/sampler_stages.h"
#include "kernels/math.h"

namespace geist::engine {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

Status check_range(const char* option, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return errorf("%s is %g: it must lie between %g and %g", option, value, low, high);
}

// Powers by repeated squaring: a fixed sequence of multiplications for each exponent.
double power(double base, uint32_t exponent) {
  double result = 1;
  for (; exponent != 0; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

}  // namespace

Status validate(const SamplerOptions& o) {
  constexpr double kLarge = 1e9;
  const struct {
    const char* option;
    double value, low, high;
  } ranges[] = {
      {"temperature", o.temperature, 0, kLarge},
      {"top-k", static_cast<double>(o.top_k), 0, kLarge},
      {"top-p", o.top_p, 0, 1},
      {"min-p", o.min_p, 0, 1},
      {"typical", o.typical_p, 0, 1},
      {"XTC probability", o.xtc_probability, 0, 1},
      {"XTC threshold", o.xtc_threshold, 0, 1},
      {"DRY multiplier", o.dry_multiplier, 0, kLarge},
      {"DRY base", o.dry_base, 0, kLarge},
      {"DRY allowed length", static_cast<double>(o.dry_allowed_length), 0, kLarge},
      {"DRY penalty last n", static_cast<double>(o.dry_penalty_last_n), -1, kLarge},
      {"repeat penalty", o.repeat_penalty, 1e-6, kLarge},
      {"frequency penalty", o.frequency_penalty, -kLarge, kLarge},
      {"presence penalty", o.presence_penalty, -kLarge, kLarge},
      {"repeat last n", static_cast<double>(o.penalty_last_n), -1, kLarge},
      {"mirostat tau", o.mirostat_tau, 0, kLarge},
      {"mirostat eta", o.mirostat_eta, 0, kLarge},
      {"min keep", static_cast<double>(o.min_keep), 0, kLarge},
  };
  for (const auto& range : ranges) {
    const Status status = check_range(range.option, range.value, range.low, range.high);
    if (!status) return status;
  }
  if (o.mirostat != 0 && o.mirostat != 2)
    return errorf("mirostat is %d: it must be 0 or 2", o.mirostat);
  for (const auto& [id, bias] : o.logit_bias) {
    if (std::isnan(bias) || bias > std::numeric_limits<float>::max()) {
      return errorf("the logit bias of token %d is %g: it must be finite, or -inf to forbid", id,
                    bias);
    }
  }
  return {};
}

Sampler::Sampler(SamplerOptions options, uint64_t stream)
    : options_(std::move(options)),
      draw_(options_.seed, stream_id("sample") + stream),
      xtc_(options_.seed, stream_id("sample.xtc") + stream),
      mirostat_mu_(2.0 * options_.mirostat_tau) {
  GEIST_CHECK(validate(options_).ok());
}

void Sampler::accept(TokenId id) {
  history_.push_back(id);
  ++window_counts_[id];
  if (options_.penalty_last_n < 0) return;
  const size_t window = static_cast<size_t>(options_.penalty_last_n);
  if (history_.size() <= window) return;
  const auto leaving = window_counts_.find(history_[history_.size() - 1 - window]);
  if (--leaving->second == 0) window_counts_.erase(leaving);
}

void Sampler::fill_candidates(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = std::isnan(logits[i]) ? kForbidden : logits[i];
    candidates_[i] = {static_cast<TokenId>(i), std::min(logit, std::numeric_limits<float>::max()),
                      0};
  }
  for (const auto& [id, bias] : options_.logit_bias) {
    if (id >= 0 && static_cast<size_t>(id) < candidates_.size()) {
      float& logit = candidates_[static_cast<size_t>(id)].logit;
      logit = std::min(logit + bias, std::numeric_limits<float>::max());
    }
  }
}

void Sampler::apply_penalties() {
  if (options_.repeat_penalty == 1 && options_.frequency_penalty == 0 &&
      options_.presence_penalty == 0) {
    return;
  }
  for (const auto& [id, count] : window_counts_) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    float& logit = candidates_[static_cast<size_t>(id)].logit;
    logit = logit <= 0 ? logit * options_.repeat_penalty : logit / options_.repeat_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
    logit = std::min(logit, std::numeric_limits<float>::max());
  }
}

void Sampler::apply_dry() {
  if (options_.dry_multiplier == 0 || options_.dry_base < 1) return;
  std::span<const TokenId> history = history_;
  if (options_.dry_penalty_last_n >= 0) {
    history =
        history.last(std::min(history.size(), static_cast<size_t>(options_.dry_penalty_last_n)));
  }
  const auto lengths =
      stages::repetition_lengths(history, options_.dry_breakers, options_.dry_allowed_length);
  for (const auto& [id, length] : lengths) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    const auto exponent = static_cast<uint32_t>(length - options_.dry_allowed_length);
    const double penalty = options_.dry_multiplier * power(options_.dry_base, exponent);
    float& logit = candidates_[static_cast<size_t>(id)].logit;
    logit =
        static_cast<float>(std::max(logit - penalty, -double{std::numeric_limits<float>::max()}));
  }
}

TokenId Sampler::sample(std::span<const float> logits) {
  draw_.seek(position_);
  xtc_.seek(position_);
  ++position_;
  fill_candidates(logits);
  apply_penalties();
  apply_dry();
  std::erase_if(candidates_, [](const Candidate& c) { return !(c.logit > kForbidden); });
  if (candidates_.empty()) return 0;
  if (options_.temperature == 0) {
    return std::min_element(candidates_.begin(), candidates_.end(), stages::before)->id;
  }
  if (options_.mirostat == 2) return sample_mirostat(draw_.next_double());

  const SamplerOptions& o = options_;
  stages::sort_and_weigh(candidates_, o.top_k > 0 ? std::max(o.top_k, o.min_keep) : 0);
  if (o.typical_p < 1) stages::keep_typical(candidates_, o.typical_p, o.min_keep);
  if (o.top_p < 1) stages::keep_top_p(candidates_, o.top_p, o.min_keep);
  if (o.min_p > 0) stages::keep_min_p(candidates_, o.min_p, o.min_keep);
  if (o.xtc_probability > 0 && o.xtc_threshold <= 0.5f && xtc_.next_double() < o.xtc_probability) {
    stages::exclude_top_choices(candidates_, o.xtc_threshold, o.min_keep);
  }
  stages::apply_temperature(candidates_, o.temperature);
  return candidates_[stages::draw(candidates_, draw_.next_double())].id;
}

// Mirostat 2 (Basu et al. 2021, algorithm 2): keeps the tokens whose surprise in bits is at most
// mu, draws, and moves mu so that the mean surprise approaches tau.
TokenId Sampler::sample_mirostat(double u) {
  stages::sort_and_weigh(candidates_, 0);
  stages::apply_temperature(candidates_, options_.temperature);
  const auto surprise_bits = [](double weight, double sum) {
    return weight > 0 ? -kernels::det_log(weight / sum) / kLn2 : INFINITY;
  };
  const double sum = stages::weight_sum(candidates_);
  size_t keep = 1;
  while (keep < candidates_.size() && surprise_bits(candidates_[keep].weight, sum) <= mirostat_mu_)
    ++keep;
  candidates_.resize(keep);
  const size_t chosen = stages::draw(candidates_, u);
  const double observed =
      surprise_bits(candidates_[chosen].weight, stages::weight_sum(candidates_));
  mirostat_mu_ -= options_.mirostat_eta * (observed - options_.mirostat_tau);
  return candidates_[chosen].id;
}

namespace {

float largest_of(std::span<const float> logits) {
  float largest = logits[0];
  for (const float logit : logits) largest = logit > largest ? logit : largest;
  return largest;
}

double tree_sum(double (&lanes)[16]) {
  for (int width = 8; width >= 1; width /= 2) {
    for (int j = 0; j < width; ++j) lanes[j] += lanes[j + width];
  }
  return lanes[0];
}

}  // namespace

double log_probability(std::span<const float> logits, TokenId id) {
  GEIST_CHECK(id >= 0 && static_cast<size_t>(id) < logits.size());
  const float largest = largest_of(logits);
  double lanes[16] = {};
  for (size_t i = 0; i < logits.size(); ++i) {
    lanes[i % 16] += kernels::det_exp(static_cast<double>(logits[i]) - largest);
  }
  return (static_cast<double>(logits[static_cast<size_t>(id)]) - largest) -
         kernels::det_log(tree_sum(lanes));
}

// log Z - (sum of e^x x) / Z, x the logit less the largest.
double entropy(std::span<const float> logits) {
  GEIST_CHECK(!logits.empty());
  const float largest = largest_of(logits);
  double weights[16] = {}, products[16] = {};
  for (size_t i = 0; i < logits.size(); ++i) {
    const double x = static_cast<double>(logits[i]) - largest, weight = kernels::det_exp(x);
    weights[i % 16] += weight;
    if (weight > 0) products[i % 16] += weight * x;
  }
  const double total = tree_sum(weights);
  return kernels::det_log(total) - tree_sum(products) / total;
}

}  // namespace geist::engine
