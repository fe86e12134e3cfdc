// Learning to predict rows of tokens: what pre-training and fine-tuning have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "train/objective.h"

namespace geist::train {

struct TrainSource {
  // Appends the sequences of a row of the run; row = step * batch_rows + row in the batch.
  std::function<void(int64_t row, std::vector<TrainSequence>* out)> row;
  // The rows that are validated on, and how many bytes of text they spell; none: no validation.
  std::vector<std::vector<TrainSequence>> validation = {};
  double validation_bytes = 0;
};

class RowObjective final : public Objective {
 public:
  // batch_rows make a step; rows_at_once a pass: less memory, the same bits.
  RowObjective(const TrainSource& source, int64_t batch_rows, int64_t rows_at_once)
      : source_(source), batch_rows_(batch_rows), rows_at_once_(rows_at_once) {}

  Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) override;
  bool validates() const override { return !source_.validation.empty(); }
  Result<Validation> validate(GradientEngine& engine) override;

 private:
  const TrainSource& source_;
  int64_t batch_rows_, rows_at_once_;
};

}  // namespace geist::train
