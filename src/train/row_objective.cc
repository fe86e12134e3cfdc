#include "train/row_objective.h"

#include <algorithm>
#include <cmath>

namespace geist::train {
namespace {

// Calls visit(index of the part, its sequences, whether it is the last) for every `at_once` of the
// rows [begin, end).
template <typename Rows, typename Visit>
Status for_parts(const Rows& rows, size_t begin, size_t end, int64_t at_once, const Visit& visit) {
  const auto step = static_cast<size_t>(at_once);
  for (size_t i = begin; i < end; i += step) {
    std::vector<TrainSequence> part;
    for (size_t j = i; j < std::min(end, i + step); ++j)
      part.insert(part.end(), rows[j].begin(), rows[j].end());
    if (!part.empty()) GEIST_TRY(visit((i - begin) / step, part, i + step >= end));
  }
  return {};
}

LossSums total(const std::vector<LossSums>& all) {
  LossSums sums;
  for (const LossSums& some : all) sums.add(some);
  return sums;
}

}  // namespace

// Each rank's own sums become everyone's.
void RowObjective::share(std::vector<LossSums>* sums) const {
  if (ranks_ == nullptr) return;
  std::vector<double> flat;
  for (const LossSums& s : *sums)
    flat.insert(flat.end(), {s.weighted, s.weight, static_cast<double>(s.count)});
  ranks_->add(flat);
  for (size_t i = 0; i < sums->size(); ++i)
    (*sums)[i] = {flat[3 * i], flat[3 * i + 1], static_cast<int64_t>(flat[3 * i + 2])};
}

// The loss of every leaf; the gradient is the engine's afterwards.
Result<std::vector<LossSums>> RowObjective::take_leaves(const Rows& rows, float scale,
                                                        GradientEngine& engine) {
  const int64_t leaf_rows = batch_.leaf_rows > 0 ? batch_.leaf_rows : batch_.rows;
  const int64_t leaves = (batch_.rows + leaf_rows - 1) / leaf_rows;
  if (ranks_ != nullptr && leaves % ranks_->count() != 0)
    return errorf(
        "%d processes cannot share %lld groups of rows: train.leaf_rows must cut train.batch_rows "
        "into a multiple of %d groups",
        ranks_->count(), static_cast<long long>(leaves), ranks_->count());
  if (!gradient_)
    gradient_.emplace(engine.trained().model().kernels(), engine.pool(), ranks_, leaves);
  std::vector<LossSums> sums(static_cast<size_t>(leaves));
  const FinalFrom final_from = [this](int64_t offset) { gradient_->final_from(offset); };
  for (int64_t i = 0; i < gradient_->leaves(); ++i) {
    const int64_t leaf = gradient_->first_leaf() + i;
    const bool last_leaf = i + 1 == gradient_->leaves();
    engine.clear();
    if (last_leaf) gradient_->begin_last(engine.unfinished());
    GEIST_TRY(for_parts(rows, static_cast<size_t>(leaf * leaf_rows),
                        std::min(rows.size(), static_cast<size_t>((leaf + 1) * leaf_rows)),
                        batch_.at_once, [&](size_t, const auto& part, bool last) -> Status {
                          GEIST_ASSIGN(const LossSums some,
                                       engine.accumulate(part, scale,
                                                         last_leaf && last ? final_from : nullptr));
                          sums[static_cast<size_t>(leaf)].add(some);
                          return {};
                        }));
    FloatBlock& gradient = engine.finish();
    if (!last_leaf) {
      GEIST_TRY(gradient_->add(gradient));
    } else {
      gradient_->end_last();
    }
  }
  share(&sums);
  return sums;
}

Result<StepOutcome> RowObjective::step(int64_t step, GradientEngine& engine, const Update& update) {
  Rows rows(static_cast<size_t>(batch_.rows));
  StepOutcome outcome;
  double weight = 0;
  for (int64_t i = 0; i < batch_.rows; ++i) {
    auto& row = rows[static_cast<size_t>(i)];
    source_.row(step * batch_.rows + i, &row);
    for (const TrainSequence& s : row) {
      outcome.tokens += static_cast<int64_t>(s.ids.size()) - 1;
      for (const float w : s.weights) weight += double{w};
      if (s.weights.empty()) weight += static_cast<double>(s.ids.size() - 1);
    }
  }
  if (weight <= 0) return errorf("the batch of step %lld has no token to learn", (long long)step);
  GEIST_ASSIGN(const auto sums, take_leaves(rows, static_cast<float>(1.0 / weight), engine));
  outcome.loss = total(sums).mean();
  if (!std::isfinite(outcome.loss)) return outcome;
  GEIST_ASSIGN(outcome.update, update());
  return outcome;
}

Result<Validation> RowObjective::validate(GradientEngine& engine) {
  const size_t rows = source_.validation.size();
  const size_t ranks = ranks_ != nullptr ? static_cast<size_t>(ranks_->count()) : 1;
  const size_t own = ranks_ != nullptr ? static_cast<size_t>(ranks_->rank()) : 0;
  std::vector<LossSums> sums((rows + static_cast<size_t>(batch_.at_once) - 1) /
                             static_cast<size_t>(batch_.at_once));
  GEIST_TRY(for_parts(source_.validation, 0, rows, batch_.at_once,
                      [&](size_t i, const auto& part, bool) -> Status {
                        if (i % ranks != own) return {};
                        GEIST_ASSIGN(sums[i], engine.evaluate(part));
                        return {};
                      }));
  share(&sums);
  const LossSums all = total(sums);
  constexpr double kLn2 = 0.6931471805599453;
  Validation validation{.loss = all.mean()};
  if (source_.validation_bytes > 0)
    validation.bits_per_byte = all.weighted / kLn2 / source_.validation_bytes;
  return validation;
}

}  // namespace geist::train
