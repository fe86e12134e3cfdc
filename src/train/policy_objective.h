// Reinforcement learning with rewards for whole answers: PPO, GRPO and RLOO (policy_loss.h).
//
// A step asks some tasks, has the engine answer each a few times, rewards the answers, and updates
// the policy on them. The rollouts' log-probabilities are the trainer's own to the bit, so the
// ratio of the first update is 1 and the divergence from the reference model at the start is 0,
// exactly.
//
//   GRPO  advantages from the group; the divergence is in the loss (k3), at a fixed price
//   RLOO  advantages from the others of the group; the divergence is taken off the reward
//   PPO   advantages from a value head; the divergence is taken off each token's reward
//
// Against the hacking of rewards: the run ends when the divergence reaches a budget, and held-out
// tasks are graded by a second reward that is not learned from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "train/objective.h"
#include "train/policy_loss.h"
#include "train/tasks.h"

namespace geist::train {

inline constexpr std::string_view kValueHead = "value.output.weight";

enum class PolicyKind { kPpo, kGrpo, kRloo };

struct PolicyOptions {
  PolicyKind kind = PolicyKind::kGrpo;
  int64_t tasks = 8, group = 8;         // of a step; answers to each
  int64_t epochs = 1, minibatches = 1;  // over the answers of a step
  int64_t rows_at_once = 8;             // of a pass: less memory, the same bits
  RolloutOptions rollout = {};
  ClipRange clip = {};
  bool scale_advantages = true;  // GRPO: by the deviation of the group
  bool mean_of_answers =
      false;  // the loss: mean over answers of means over tokens, not over tokens
  double kl_price = 0.04;
  double kl_target = 0, kl_horizon = 10000;  // target 0: the price stays
  double kl_budget = 0;                      // nats an answer, where the run ends; 0: none
  double discount = 1, lambda = 0.95;        // PPO
  double value_price = 0.1, value_clip = 0.2;
  int64_t held_out = 32;  // tasks of a validation

  int64_t updates() const { return epochs * minibatches; }
};

struct PolicyEnvironment {
  TaskSource tasks, held_out;  // held_out may be empty: no validation
  RewardFunction reward;
  RewardFunction gold = {};  // empty: the reward itself
};

class PolicyObjective final : public Objective {
 public:
  // PPO: the trained model has the tensor kValueHead.
  static Result<std::unique_ptr<PolicyObjective>> make(
      const PolicyOptions& options, const TrainedModel& trained, const TrainedModel& reference,
      const text::Tokenizer& tokenizer, PolicyEnvironment environment, ThreadPool& pool);

  Status begin(GradientEngine& engine) override {
    return valued() ? engine.use_scalar_head(kValueHead) : Status();
  }
  Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) override;
  bool validates() const override { return environment_.held_out && o_.held_out > 0; }
  // Greedy answers to the held-out tasks: the mean reward, and the mean gold reward.
  Result<Validation> validate(GradientEngine& engine) override;
  std::vector<double> state() const override { return {kl_price_}; }
  Status restore(std::span<const double> state) override;

 private:
  // The answers of a step and what is known of them before the first update. Numbers of tokens
  // stand in one line, answer after answer.
  struct Batch {
    std::vector<Task> tasks;
    std::vector<Rollout> rollouts;
    std::vector<double> rewards;              // of answers
    std::vector<int64_t> first;               // token of each answer, and the end
    std::vector<double> old_logs, reference;  // of tokens
    std::vector<double> old_values, advantages, returns;
    std::vector<std::vector<float>> ones;  // weights of each answer's sequence
    int64_t answers() const { return static_cast<int64_t>(rollouts.size()); }
    TrainSequence sequence(int64_t answer, bool valued) const;
    double divergence(int64_t answer) const;
  };
  struct Totals {
    double loss = 0, clipped = 0, value_loss = 0, weight = 0;
  };

  PolicyObjective(const PolicyOptions& options, PolicyEnvironment environment)
      : o_(options), environment_(std::move(environment)), kl_price_(options.kl_price) {}
  bool valued() const { return o_.kind == PolicyKind::kPpo; }
  Result<Batch> roll_out(int64_t step);
  Status read(GradientEngine& engine, const Batch& batch, bool values, RowOutputs* all) const;
  void set_advantages(Batch* batch) const;
  Status accumulate(const Batch& batch, int64_t begin, int64_t end, double per_token,
                    GradientEngine& engine, Totals* totals) const;
  Status minibatch(const Batch& batch, int64_t begin, int64_t end, GradientEngine& engine,
                   const Update& update, StepOutcome* outcome, Totals* totals) const;
  Metrics describe(const Batch& batch, double kl) const;

  PolicyOptions o_;
  PolicyEnvironment environment_;
  std::unique_ptr<GradientEngine> reference_;
  std::unique_ptr<RolloutMaker> rollouts_, greedy_;
  double kl_price_;
};

}  // namespace geist::train
