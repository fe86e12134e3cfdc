// Learning a reward from rankings: the likelihood of each ranking under the rewards of its answers
// (Plackett-Luce; of pairs: Bradley-Terry), read by a scalar head at the last token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/reward_head.h"
#include "train/epoch_order.h"
#include "train/objective.h"
#include "train/preference_data.h"

namespace geist::train {

// Conversations as the reward is read from them: behind the last token stands one that is only the
// target of a prediction that nobody makes.
struct RankedAnswers {
  struct Answer {
    std::vector<text::TokenId> ids;
    std::vector<float> scalar_weights;
  };
  std::vector<Answer> answers;  // best first
  explicit RankedAnswers(const EncodedPreference& preference);
};

// Whether rewards rank held-out pairs, and whether their differences mean what they say.
struct RewardQuality {
  struct Bin {  // of pairs by how sure the rewards are that the better-rewarded one is better
    double sure = 0, right = 0;  // means
    int64_t pairs = 0;
  };
  int64_t pairs = 0;
  double loss = 0, accuracy = 0, margin = 0;
  double calibration_error = 0;  // mean of |sure - right| over bins, weighted by pairs
  std::vector<Bin> bins;         // from 0.5 to 1
};
// margins: reward of the better answer less that of the worse one.
RewardQuality quality_of(std::span<const double> margins);

struct RankingOptions {
  int64_t batch = 8;    // rankings of a step
  int64_t at_once = 4;  // of a pass: less memory, the same bits
  uint64_t seed = 1;
};

class RewardObjective final : public Objective {
 public:
  // Refers to both lists, of which the first is not empty.
  RewardObjective(const RankingOptions& options, std::span<const RankedAnswers> train,
                  std::span<const RankedAnswers> held_out)
      : o_(options),
        train_(train),
        held_out_(held_out),
        order_(static_cast<int64_t>(train.size()), options.seed, "rankings") {}

  Status begin(GradientEngine& engine) override {
    return engine.use_scalar_head(engine::kRewardHead);
  }
  Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) override;
  bool validates() const override { return !held_out_.empty(); }
  Result<Validation> validate(GradientEngine& engine) override;

  // Of the last validation.
  const RewardQuality& quality() const { return quality_; }

 private:
  struct Totals {
    double loss = 0, margin = 0, right = 0, pairs = 0;
    int64_t tokens = 0;
  };
  Status accumulate(std::span<const RankedAnswers* const> rankings, GradientEngine& engine,
                    Totals* totals) const;

  RankingOptions o_;
  std::span<const RankedAnswers> train_, held_out_;
  EpochOrder order_;
  RewardQuality quality_;
};

}  // namespace geist::train
