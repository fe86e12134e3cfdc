// Learning to predict rows of tokens: what pre-training and fine-tuning have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "train/objective.h"
#include "train/step_gradient.h"

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
  struct Batch {
    int64_t rows = 8;       // of a step
    int64_t at_once = 8;    // of a pass: less memory, the same bits
    int64_t leaf_rows = 0;  // of a leaf of the gradient's tree (step_gradient.h); 0: all
  };
  // ranks may be null.
  RowObjective(const TrainSource& source, const Batch& batch, Ranks* ranks)
      : source_(source), batch_(batch), ranks_(ranks) {}

  Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) override;
  bool validates() const override { return !source_.validation.empty(); }
  Result<Validation> validate(GradientEngine& engine) override;

 private:
  using Rows = std::vector<std::vector<TrainSequence>>;
  Result<std::vector<LossSums>> take_leaves(const Rows& rows, float scale, GradientEngine& engine);
  void share(std::vector<LossSums>* sums) const;

  const TrainSource& source_;
  Batch batch_;
  Ranks* ranks_;
  std::optional<StepGradient> gradient_;
};

}  // namespace geist::train
