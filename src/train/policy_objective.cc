#include "train/policy_objective.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/check.h"

namespace geist::train {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

std::vector<Answered> answered(std::span<const Task> tasks, std::span<const Rollout> rollouts) {
  std::vector<Answered> list;
  const size_t group = rollouts.size() / tasks.size();
  for (size_t i = 0; i < rollouts.size(); ++i) list.push_back({&tasks[i / group], &rollouts[i]});
  return list;
}

Result<std::vector<double>> ask(const RewardFunction& reward, std::span<const Answered> answers) {
  GEIST_ASSIGN(std::vector<double> rewards, reward(answers));
  GEIST_CHECK(rewards.size() == answers.size());
  for (const double r : rewards)
    if (!std::isfinite(r)) return errorf("a reward is not a finite number");
  return rewards;
}

}  // namespace

Result<std::unique_ptr<PolicyObjective>> PolicyObjective::make(
    const PolicyOptions& options, const TrainedModel& trained, const TrainedModel& reference,
    const text::Tokenizer& tokenizer, PolicyEnvironment environment, ThreadPool& pool) {
  if (options.kind != PolicyKind::kPpo && options.group < 2)
    return errorf("GRPO and RLOO compare the answers of a group: it needs two at least");
  if (options.minibatches > options.tasks * options.group)
    return errorf("%lld minibatches are more than the answers of a step",
                  static_cast<long long>(options.minibatches));
  std::unique_ptr<PolicyObjective> made(new PolicyObjective(options, std::move(environment)));
  GEIST_ASSIGN(made->reference_, GradientEngine::make(reference, pool));
  made->rollouts_ =
      std::make_unique<RolloutMaker>(trained.model(), tokenizer, pool, options.rollout);
  RolloutOptions greedy = options.rollout;
  greedy.greedy = true;
  made->greedy_ = std::make_unique<RolloutMaker>(trained.model(), tokenizer, pool, greedy);
  return made;
}

Status PolicyObjective::restore(std::span<const double> state) {
  if (state.size() != 1) return errorf("the checkpoint holds state of another objective");
  kl_price_ = state[0];
  return {};
}

TrainSequence PolicyObjective::Batch::sequence(int64_t answer, bool valued) const {
  const auto at = static_cast<size_t>(answer);
  TrainSequence sequence{rollouts[at].ids, ones[at]};
  if (valued) sequence.scalar_weights = ones[at];
  return sequence;
}

// The estimate of an answer's divergence from what was drawn: the sum of log-ratios.
double PolicyObjective::Batch::divergence(int64_t answer) const {
  double sum = 0;
  for (int64_t t = first[static_cast<size_t>(answer)]; t < first[static_cast<size_t>(answer) + 1];
       ++t)
    sum += old_logs[static_cast<size_t>(t)] - reference[static_cast<size_t>(t)];
  return sum;
}

Status PolicyObjective::read(GradientEngine& engine, const Batch& batch, bool values,
                             RowOutputs* all) const {
  for (int64_t i = 0; i < batch.answers(); i += o_.rows_at_once) {
    std::vector<TrainSequence> part;
    for (int64_t j = i; j < std::min(batch.answers(), i + o_.rows_at_once); ++j)
      part.push_back(batch.sequence(j, values));
    RowOutputs some;
    GEIST_TRY(engine.evaluate(part, &some));
    all->log_probabilities.insert(all->log_probabilities.end(), some.log_probabilities.begin(),
                                  some.log_probabilities.end());
    all->scalars.insert(all->scalars.end(), some.scalars.begin(), some.scalars.end());
  }
  return {};
}

Result<PolicyObjective::Batch> PolicyObjective::roll_out(int64_t step) {
  Batch batch;
  std::vector<std::vector<text::TokenId>> prompts;
  for (int64_t i = 0; i < o_.tasks; ++i) {
    GEIST_ASSIGN(Task task, environment_.tasks(step * o_.tasks + i));
    prompts.push_back(task.prompt);
    batch.tasks.push_back(std::move(task));
  }
  const int64_t answers = o_.tasks * o_.group;
  GEIST_ASSIGN(batch.rollouts,
               rollouts_->make(prompts, o_.group, static_cast<uint64_t>(step * answers)));
  for (const Rollout& r : batch.rollouts) {
    batch.first.push_back(static_cast<int64_t>(batch.old_logs.size()));
    batch.old_logs.insert(batch.old_logs.end(), r.log_probabilities.begin(),
                          r.log_probabilities.end());
    std::vector<float>& ones = batch.ones.emplace_back(static_cast<size_t>(r.prompt) - 1, 0.0f);
    ones.resize(r.ids.size() - 1, 1.0f);
  }
  batch.first.push_back(static_cast<int64_t>(batch.old_logs.size()));
  GEIST_ASSIGN(batch.rewards, ask(environment_.reward, answered(batch.tasks, batch.rollouts)));
  RowOutputs reference;
  GEIST_TRY(read(*reference_, batch, false, &reference));
  batch.reference = std::move(reference.log_probabilities);
  GEIST_CHECK(batch.reference.size() == batch.old_logs.size());
  return batch;
}

void PolicyObjective::set_advantages(Batch* b) const {
  const size_t tokens = b->old_logs.size();
  b->advantages.assign(tokens, 0);
  if (valued()) {
    b->returns.assign(tokens, 0);
    std::vector<double> rewards(tokens);
    for (size_t t = 0; t < tokens; ++t)
      rewards[t] = -kl_price_ * (b->old_logs[t] - b->reference[t]);
    for (size_t i = 0; i < b->rollouts.size(); ++i) {
      const auto begin = static_cast<size_t>(b->first[i]),
                 end = static_cast<size_t>(b->first[i + 1]);
      const size_t n = end - begin;
      rewards[end - 1] += b->rewards[i];
      generalised_advantages(std::span(rewards).subspan(begin, n),
                             std::span(b->old_values).subspan(begin, n), o_.discount, o_.lambda,
                             std::span(b->advantages).subspan(begin, n),
                             std::span(b->returns).subspan(begin, n));
    }
    return whiten(b->advantages);
  }
  std::vector<double> rewards = b->rewards, advantages(rewards.size());
  if (o_.kind == PolicyKind::kRloo)
    for (size_t i = 0; i < rewards.size(); ++i)
      rewards[i] -= kl_price_ * b->divergence(static_cast<int64_t>(i));
  const auto group = static_cast<size_t>(o_.group);
  for (size_t i = 0; i < rewards.size(); i += group) {
    const auto in = std::span<const double>(rewards).subspan(i, group);
    const auto out = std::span(advantages).subspan(i, group);
    if (o_.kind == PolicyKind::kRloo) {
      leave_one_out_advantages(in, out);
    } else {
      group_advantages(in, o_.scale_advantages, out);
    }
  }
  for (size_t i = 0; i < advantages.size(); ++i)
    std::fill(b->advantages.begin() + b->first[i], b->advantages.begin() + b->first[i + 1],
              advantages[i]);
}

// Adds the gradient of answers [begin, end). per_token: the share of a token in the loss; 0: of an
// answer's tokens, as many as there are.
Status PolicyObjective::accumulate(const Batch& b, int64_t begin, int64_t end, double per_token,
                                   GradientEngine& engine, Totals* totals) const {
  std::vector<TrainSequence> sequences;
  for (int64_t i = begin; i < end; ++i) sequences.push_back(b.sequence(i, valued()));
  RowOutputs rows;
  GEIST_TRY(engine.forward(sequences, &rows));
  std::vector<float> weights, scalar_weights;
  size_t row = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t from = b.first[static_cast<size_t>(i)], to = b.first[static_cast<size_t>(i) + 1];
    const double share =
        o_.mean_of_answers ? per_token / static_cast<double>(to - from) : per_token;
    for (auto t = static_cast<size_t>(from); t < static_cast<size_t>(to); ++t, ++row) {
      const double log_probability = rows.log_probabilities[row];
      TokenLoss loss = policy_loss(log_probability, b.old_logs[t], b.advantages[t], o_.clip);
      totals->clipped += loss.clipped ? share : 0;
      if (o_.kind == PolicyKind::kGrpo) {
        const TokenLoss kl = kl_loss(log_probability, b.reference[t]);
        loss.loss += kl_price_ * kl.loss;
        loss.d += kl_price_ * kl.d;
      }
      totals->loss += share * loss.loss;
      totals->weight += share;
      weights.push_back(static_cast<float>(-share * loss.d));
      if (!valued()) continue;
      const TokenLoss value =
          value_loss(double{rows.scalars[row]}, b.old_values[t], b.returns[t], o_.value_clip);
      totals->value_loss += share * value.loss;
      totals->loss += share * o_.value_price * value.loss;
      scalar_weights.push_back(static_cast<float>(share * o_.value_price * value.d));
    }
  }
  GEIST_TRY(engine.backward(weights, scalar_weights, 1.0f));
  return {};
}

Status PolicyObjective::minibatch(const Batch& b, int64_t begin, int64_t end,
                                  GradientEngine& engine, const Update& update,
                                  StepOutcome* outcome, Totals* totals) const {
  const int64_t tokens = b.first[static_cast<size_t>(end)] - b.first[static_cast<size_t>(begin)];
  const double per_token = 1.0 / static_cast<double>(o_.mean_of_answers ? end - begin : tokens);
  engine.clear();
  for (int64_t i = begin; i < end; i += o_.rows_at_once)
    GEIST_TRY(accumulate(b, i, std::min(end, i + o_.rows_at_once), per_token, engine, totals));
  for (int64_t i = begin; i < end; ++i)
    outcome->tokens += static_cast<int64_t>(b.rollouts[static_cast<size_t>(i)].ids.size()) - 1;
  if (!std::isfinite(totals->loss)) return {};  // step() ends with it
  GEIST_ASSIGN(outcome->update, update());
  return {};
}

Metrics PolicyObjective::describe(const Batch& b, double kl) const {
  double entropy = 0, length = 0, ended = 0;
  for (const Rollout& r : b.rollouts) {
    entropy += r.entropy * static_cast<double>(r.tokens());
    length += static_cast<double>(r.tokens());
    ended += r.ended ? 1 : 0;
  }
  const auto group = static_cast<size_t>(o_.group);
  double flat = 0;
  for (size_t i = 0; i < b.rewards.size(); i += group)
    flat += has_variance(std::span(b.rewards).subspan(i, group)) ? 0 : 1;
  const auto answers = static_cast<double>(b.answers());
  Metrics metrics = {{"reward", mean_of(b.rewards)}, {"kl", kl},
                     {"kl_price", kl_price_},        {"entropy", entropy / length},
                     {"length", length / answers},   {"ended", ended / answers}};
  if (group > 1)
    metrics.emplace_back("groups_without_variance", flat / static_cast<double>(o_.tasks));
  return metrics;
}

Result<StepOutcome> PolicyObjective::step(int64_t step, GradientEngine& engine,
                                          const Update& update) {
  GEIST_ASSIGN(Batch batch, roll_out(step));
  double kl = 0;
  for (int64_t i = 0; i < batch.answers(); ++i)
    kl += batch.divergence(i) / static_cast<double>(batch.answers());
  StepOutcome outcome;
  outcome.metrics = describe(batch, kl);
  if (o_.kl_budget > 0 && kl > o_.kl_budget) {
    char text[120];
    std::snprintf(
        text, sizeof text,
        "the divergence from the reference, %.3f nats an answer, is over the budget of %g", kl,
        o_.kl_budget);
    outcome.stop = text;
    return outcome;
  }
  if (valued()) {
    RowOutputs values;
    GEIST_TRY(read(engine, batch, true, &values));
    batch.old_values.assign(values.scalars.begin(), values.scalars.end());
  }
  set_advantages(&batch);
  Totals totals;
  for (int64_t i = 0; i < o_.updates() && std::isfinite(totals.loss); ++i) {
    const int64_t m = i % o_.minibatches;
    GEIST_TRY(minibatch(batch, batch.answers() * m / o_.minibatches,
                        batch.answers() * (m + 1) / o_.minibatches, engine, update, &outcome,
                        &totals));
  }
  const auto updates = static_cast<double>(o_.updates());
  outcome.loss = totals.loss / updates;
  outcome.metrics.emplace_back("clip_fraction", totals.clipped / totals.weight);
  if (valued()) outcome.metrics.emplace_back("value_loss", totals.value_loss / updates);
  if (o_.kl_target > 0)
    kl_price_ = adapt_kl_price(kl_price_, kl, o_.kl_target, static_cast<double>(batch.answers()),
                               o_.kl_horizon);
  return outcome;
}

Result<Validation> PolicyObjective::validate(GradientEngine&) {
  std::vector<Task> tasks;
  std::vector<std::vector<text::TokenId>> prompts;
  for (int64_t i = 0; i < o_.held_out; ++i) {
    GEIST_ASSIGN(Task task, environment_.held_out(i));
    prompts.push_back(task.prompt);
    tasks.push_back(std::move(task));
  }
  GEIST_ASSIGN(const std::vector<Rollout> rollouts, greedy_->make(prompts, 1, 0));
  const auto list = answered(tasks, rollouts);
  GEIST_ASSIGN(const std::vector<double> rewards, ask(environment_.reward, list));
  Validation out;
  out.metrics = {{"validation_reward", mean_of(rewards)}};
  if (environment_.gold) {
    GEIST_ASSIGN(const std::vector<double> gold, ask(environment_.gold, list));
    out.metrics.emplace_back("validation_gold", mean_of(gold));
  }
  double length = 0;
  for (const Rollout& r : rollouts) length += static_cast<double>(r.tokens());
  out.metrics.emplace_back("validation_length", length / static_cast<double>(rollouts.size()));
  return out;
}

}  // namespace geist::train
