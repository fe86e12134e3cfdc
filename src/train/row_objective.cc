#include "train/row_objective.h"

#include <algorithm>
#include <cmath>

namespace geist::train {
namespace {

using Rows = std::vector<std::vector<TrainSequence>>;

// Calls visit(sequences) for every `at_once` rows.
template <typename Visit>
Status for_parts(const Rows& rows, int64_t at_once, const Visit& visit) {
  const auto step = static_cast<size_t>(at_once);
  for (size_t i = 0; i < rows.size(); i += step) {
    std::vector<TrainSequence> part;
    for (size_t j = i; j < std::min(rows.size(), i + step); ++j)
      part.insert(part.end(), rows[j].begin(), rows[j].end());
    if (!part.empty()) GEIST_TRY(visit(part));
  }
  return {};
}

}  // namespace

Result<StepOutcome> RowObjective::step(int64_t step, GradientEngine& engine, const Update& update) {
  Rows rows(static_cast<size_t>(batch_rows_));
  StepOutcome outcome;
  double weight = 0;
  for (int64_t i = 0; i < batch_rows_; ++i) {
    auto& row = rows[static_cast<size_t>(i)];
    source_.row(step * batch_rows_ + i, &row);
    for (const TrainSequence& s : row) {
      outcome.tokens += static_cast<int64_t>(s.ids.size()) - 1;
      for (const float w : s.weights) weight += double{w};
      if (s.weights.empty()) weight += static_cast<double>(s.ids.size() - 1);
    }
  }
  if (weight <= 0) return errorf("the batch of step %lld has no token to learn", (long long)step);
  engine.clear();
  LossSums sums;
  const auto scale = static_cast<float>(1.0 / weight);
  GEIST_TRY(for_parts(rows, rows_at_once_, [&](const auto& part) -> Status {
    GEIST_ASSIGN(const LossSums some, engine.accumulate(part, scale));
    sums.add(some);
    return {};
  }));
  outcome.loss = sums.mean();
  if (!std::isfinite(outcome.loss)) return outcome;
  GEIST_ASSIGN(outcome.update, update());
  return outcome;
}

Result<Validation> RowObjective::validate(GradientEngine& engine) {
  LossSums sums;
  GEIST_TRY(for_parts(source_.validation, rows_at_once_, [&](const auto& part) -> Status {
    GEIST_ASSIGN(const LossSums some, engine.evaluate(part));
    sums.add(some);
    return {};
  }));
  constexpr double kLn2 = 0.6931471805599453;
  Validation validation{.loss = sums.mean()};
  if (source_.validation_bytes > 0)
    validation.bits_per_byte = sums.weighted / kLn2 / source_.validation_bytes;
  return validation;
}

}  // namespace geist::train
