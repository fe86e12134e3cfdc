// Learning from preferences without a reward model, on answers that there are: DPO, IPO and KTO
// (preference_loss.h). Each step takes a batch of pairs (KTO: of single answers), asks the
// reference model once for every answer of the run, and pushes the tokens of an answer up or down
// alike.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "train/epoch_order.h"
#include "train/objective.h"
#include "train/preference_loss.h"

namespace geist::train {

enum class PreferenceKind { kDpo, kIpo, kKto };

struct PreferenceOptions {
  PreferenceKind kind = PreferenceKind::kDpo;
  double beta = 0.1;
  double smoothing = 0;                                 // of DPO
  double desirable_weight = 1, undesirable_weight = 1;  // of KTO
  int64_t batch = 8;                                    // pairs of a step; KTO: answers
  int64_t at_once = 4;                                  // of a pass: less memory, the same bits
  uint64_t seed = 1;
};

// Weights are 1 on the answer's tokens and 0 before. KTO takes pairs of which one side is empty.
struct AnswerPair {
  TrainSequence chosen = {}, rejected = {};
};

// The sum of log-probabilities of each sequence's weighted tokens, in order.
std::vector<double> sums_by_sequence(std::span<const double> log_probabilities,
                                     std::span<const TrainSequence> sequences);

class PreferenceObjective final : public Objective {
 public:
  // Refers to the sequences' ids and weights, and to the reference model, which must not change.
  static Result<std::unique_ptr<PreferenceObjective>> make(const PreferenceOptions& options,
                                                           const TrainedModel& reference,
                                                           std::span<const AnswerPair> train,
                                                           std::span<const AnswerPair> held_out,
                                                           ThreadPool& pool);

  Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) override;
  bool validates() const override { return !held_out_.units.empty(); }
  // On the held-out pairs: loss, margin of the implicit rewards, and how often it is positive.
  Result<Validation> validate(GradientEngine& engine) override;

 private:
  // What has a loss: a pair, or an answer alone (-1: the other side).
  struct Unit {
    int64_t chosen = -1, rejected = -1;
  };
  struct Set {
    std::vector<TrainSequence> answers;
    std::vector<double> reference;  // of each answer; NaN: not asked yet
    std::vector<Unit> units, pairs;
  };
  struct UnitLoss {
    double loss = 0, d_chosen = 0, d_rejected = 0;
  };

  struct Totals {
    double loss = 0, margin = 0, right = 0;
    int64_t tokens = 0;
  };

  PreferenceObjective(const PreferenceOptions& options, std::span<const AnswerPair> train,
                      std::span<const AnswerPair> held_out)
      : o_(options),
        train_(make_set(train)),
        held_out_(make_set(held_out)),
        order_(static_cast<int64_t>(train_.units.size()), options.seed, "preferences") {}
  Set make_set(std::span<const AnswerPair> pairs) const;
  Status ask_reference(Set& set, std::span<const Unit> units);
  Result<double> divergence(const Set& set, std::span<const Unit> units, GradientEngine& engine);
  Result<std::vector<double>> sums(GradientEngine& engine,
                                   std::span<const TrainSequence> sequences) const;
  Status accumulate(std::span<const Unit> units, double kl, GradientEngine& engine, Totals* totals);
  double margin_of(const Set& set, const Unit& pair, double chosen, double rejected) const;
  AnswerLogs logs(const Set& set, int64_t answer, double policy) const;
  UnitLoss loss_of(const Set& set, const Unit& unit, double chosen, double rejected,
                   double kl) const;

  PreferenceOptions o_;
  Set train_, held_out_;
  EpochOrder order_;
  std::unique_ptr<GradientEngine> reference_;
  int64_t context_ = 0;
};

}  // namespace geist::train
