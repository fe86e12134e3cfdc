#include "train/reward_objective.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "train/preference_loss.h"

namespace geist::train {
namespace {

constexpr int kBins = 5;

std::vector<TrainSequence> sequences_of(std::span<const RankedAnswers* const> rankings) {
  std::vector<TrainSequence> sequences;
  for (const RankedAnswers* ranking : rankings)
    for (const RankedAnswers::Answer& a : ranking->answers)
      sequences.push_back({.ids = a.ids, .scalar_weights = a.scalar_weights});
  return sequences;
}

// Calls visit(margin) for each pair of a ranking.
template <typename Visit>
void for_pairs(std::span<const double> rewards, const Visit& visit) {
  for (size_t i = 0; i < rewards.size(); ++i)
    for (size_t j = i + 1; j < rewards.size(); ++j) visit(rewards[i] - rewards[j]);
}

}  // namespace

RankedAnswers::RankedAnswers(const EncodedPreference& preference) {
  for (const EncodedChat& chat : preference.answers) {
    Answer& a = answers.emplace_back(Answer{chat.ids, {}});
    a.scalar_weights.assign(a.ids.size(), 0.0f);
    a.scalar_weights.back() = 1;
    a.ids.push_back(a.ids.back());
  }
}

RewardQuality quality_of(std::span<const double> margins) {
  RewardQuality q;
  q.bins.resize(kBins);
  q.pairs = static_cast<int64_t>(margins.size());
  if (margins.empty()) return q;
  const auto count = static_cast<double>(margins.size());
  for (const double m : margins) {
    const double sure = sigmoid(std::abs(m)), right = m > 0 ? 1 : m < 0 ? 0 : 0.5;
    q.loss -= log_sigmoid(m) / count;
    q.margin += m / count;
    q.accuracy += right / count;
    const int bin = std::min(kBins - 1, static_cast<int>((sure - 0.5) * 2 * kBins));
    RewardQuality::Bin& b = q.bins[static_cast<size_t>(bin)];
    b.sure += sure;
    b.right += right;
    ++b.pairs;
  }
  for (RewardQuality::Bin& b : q.bins) {
    if (b.pairs == 0) continue;
    b.sure /= static_cast<double>(b.pairs);
    b.right /= static_cast<double>(b.pairs);
    q.calibration_error += std::abs(b.sure - b.right) * static_cast<double>(b.pairs) / count;
  }
  return q;
}

Status RewardObjective::accumulate(std::span<const RankedAnswers* const> rankings,
                                   GradientEngine& engine, Totals* totals) const {
  const std::vector<TrainSequence> sequences = sequences_of(rankings);
  RowOutputs rows;
  GEIST_TRY(engine.forward(sequences, &rows));
  GEIST_CHECK(rows.scalars.size() == sequences.size());
  std::vector<float> weights;
  size_t at = 0;
  for (const RankedAnswers* ranking : rankings) {
    const size_t n = ranking->answers.size();
    const std::vector<double> rewards(rows.scalars.begin() + static_cast<std::ptrdiff_t>(at),
                                      rows.scalars.begin() + static_cast<std::ptrdiff_t>(at + n));
    std::vector<double> d(n);
    totals->loss += ranking_loss(rewards, d);
    for (const double x : d)
      weights.push_back(static_cast<float>(x / static_cast<double>(o_.batch)));
    for_pairs(rewards, [&](double margin) {
      totals->margin += margin;
      totals->right += margin > 0 ? 1 : 0;
      totals->pairs += 1;
    });
    at += n;
  }
  for (const TrainSequence& s : sequences) totals->tokens += static_cast<int64_t>(s.ids.size()) - 1;
  GEIST_TRY(engine.backward({}, weights, 1.0f));
  return {};
}

Result<StepOutcome> RewardObjective::step(int64_t step, GradientEngine& engine,
                                          const Update& update) {
  std::vector<const RankedAnswers*> rankings;
  for (int64_t i = 0; i < o_.batch; ++i)
    rankings.push_back(&train_[static_cast<size_t>(order_.at(step * o_.batch + i))]);
  engine.clear();
  Totals totals;
  const auto at_once = static_cast<size_t>(o_.at_once);
  for (size_t i = 0; i < rankings.size(); i += at_once)
    GEIST_TRY(accumulate(std::span(rankings).subspan(i, std::min(at_once, rankings.size() - i)),
                         engine, &totals));
  StepOutcome outcome{.loss = totals.loss / static_cast<double>(o_.batch), .tokens = totals.tokens};
  outcome.metrics = {{"margin", totals.margin / totals.pairs},
                     {"accuracy", totals.right / totals.pairs}};
  if (!std::isfinite(outcome.loss)) return outcome;
  GEIST_ASSIGN(outcome.update, update());
  return outcome;
}

Result<Validation> RewardObjective::validate(GradientEngine& engine) {
  std::vector<double> margins;
  const auto at_once = static_cast<size_t>(o_.at_once);
  for (size_t i = 0; i < held_out_.size(); i += at_once) {
    std::vector<const RankedAnswers*> part;
    for (size_t j = i; j < std::min(held_out_.size(), i + at_once); ++j)
      part.push_back(&held_out_[j]);
    RowOutputs rows;
    GEIST_TRY(engine.evaluate(sequences_of(part), &rows));
    size_t at = 0;
    for (const RankedAnswers* ranking : part) {
      const size_t n = ranking->answers.size();
      const std::vector<double> rewards(rows.scalars.begin() + static_cast<std::ptrdiff_t>(at),
                                        rows.scalars.begin() + static_cast<std::ptrdiff_t>(at + n));
      for_pairs(rewards, [&](double margin) { margins.push_back(margin); });
      at += n;
    }
  }
  quality_ = quality_of(margins);
  return Validation{.loss = quality_.loss,
                    .metrics = {{"validation_margin", quality_.margin},
                                {"validation_accuracy", quality_.accuracy},
                                {"validation_calibration_error", quality_.calibration_error}}};
}

}  // namespace geist::train
