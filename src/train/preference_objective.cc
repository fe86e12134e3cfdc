#include "train/preference_objective.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace geist::train {
namespace {

int64_t learned_tokens(const TrainSequence& s) {
  return std::count_if(s.weights.begin(), s.weights.end(), [](float w) { return w != 0.0f; });
}

// The ids before the first that is learned.
size_t prompt_ids(const TrainSequence& s) {
  const auto first =
      std::find_if(s.weights.begin(), s.weights.end(), [](float w) { return w != 0.0f; });
  return static_cast<size_t>(first - s.weights.begin()) + 1;
}

// A prompt with the answer to another.
struct Mismatch {
  std::vector<text::TokenId> ids;
  std::vector<float> weights;
  Mismatch(const TrainSequence& prompt, const TrainSequence& answer) {
    const size_t head = prompt_ids(prompt), from = prompt_ids(answer);
    ids.assign(prompt.ids.begin(), prompt.ids.begin() + static_cast<std::ptrdiff_t>(head));
    weights.assign(head - 1, 0.0f);
    ids.insert(ids.end(), answer.ids.begin() + static_cast<std::ptrdiff_t>(from), answer.ids.end());
    weights.insert(weights.end(), answer.weights.begin() + static_cast<std::ptrdiff_t>(from) - 1,
                   answer.weights.end());
  }
};

}  // namespace

std::vector<double> sums_by_sequence(std::span<const double> log_probabilities,
                                     std::span<const TrainSequence> sequences) {
  std::vector<double> sums;
  size_t at = 0;
  for (const TrainSequence& s : sequences) {
    double sum = 0;
    for (const float w : s.weights)
      if (w != 0.0f) sum += log_probabilities[at++];
    sums.push_back(sum);
  }
  GEIST_CHECK(at == log_probabilities.size());
  return sums;
}

Result<std::unique_ptr<PreferenceObjective>> PreferenceObjective::make(
    const PreferenceOptions& options, const TrainedModel& reference,
    std::span<const AnswerPair> train, std::span<const AnswerPair> held_out, ThreadPool& pool) {
  std::unique_ptr<PreferenceObjective> made(new PreferenceObjective(options, train, held_out));
  if (made->train_.units.empty()) return errorf("there are no preferences to learn from");
  if (options.kind == PreferenceKind::kKto && options.batch < 2)
    return errorf("KTO needs a batch of two answers at least: each is compared with another's");
  made->context_ = reference.model().config().context_length;
  GEIST_ASSIGN(made->reference_, GradientEngine::make(reference, pool));
  return made;
}

PreferenceObjective::Set PreferenceObjective::make_set(std::span<const AnswerPair> pairs) const {
  Set set;
  const auto add = [&](const TrainSequence& s) -> int64_t {
    if (s.ids.empty()) return -1;
    GEIST_CHECK(learned_tokens(s) > 0);
    set.answers.push_back(s);
    return static_cast<int64_t>(set.answers.size()) - 1;
  };
  for (const AnswerPair& pair : pairs) {
    const Unit unit{add(pair.chosen), add(pair.rejected)};
    if (unit.chosen >= 0 && unit.rejected >= 0) set.pairs.push_back(unit);
    if (o_.kind != PreferenceKind::kKto) continue;
    if (unit.chosen >= 0) set.units.push_back({.chosen = unit.chosen});
    if (unit.rejected >= 0) set.units.push_back({.rejected = unit.rejected});
  }
  if (o_.kind != PreferenceKind::kKto) set.units = set.pairs;
  set.reference.assign(set.answers.size(), std::numeric_limits<double>::quiet_NaN());
  return set;
}

Result<std::vector<double>> PreferenceObjective::sums(
    GradientEngine& engine, std::span<const TrainSequence> sequences) const {
  std::vector<double> all;
  const auto step = static_cast<size_t>(o_.at_once);
  for (size_t i = 0; i < sequences.size(); i += step) {
    const auto part = sequences.subspan(i, std::min(step, sequences.size() - i));
    RowOutputs rows;
    GEIST_TRY(engine.evaluate(part, &rows));
    const auto some = sums_by_sequence(rows.log_probabilities, part);
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

Status PreferenceObjective::ask_reference(Set& set, std::span<const Unit> units) {
  std::vector<size_t> missing;
  std::vector<TrainSequence> sequences;
  for (const Unit& unit : units) {
    for (const int64_t answer : {unit.chosen, unit.rejected}) {
      if (answer < 0 || !std::isnan(set.reference[static_cast<size_t>(answer)])) continue;
      missing.push_back(static_cast<size_t>(answer));
      sequences.push_back(set.answers[static_cast<size_t>(answer)]);
    }
  }
  GEIST_ASSIGN(const auto found, sums(*reference_, sequences));
  for (size_t i = 0; i < missing.size(); ++i) set.reference[missing[i]] = found[i];
  return {};
}

// KTO's estimate: the mean log-ratio of each prompt with the next one's answer, 0 at least.
Result<double> PreferenceObjective::divergence(const Set& set, std::span<const Unit> units,
                                               GradientEngine& engine) {
  if (o_.kind != PreferenceKind::kKto) return 0.0;
  const auto answer_of = [&](const Unit& unit) -> const TrainSequence& {
    return set.answers[static_cast<size_t>(std::max(unit.chosen, unit.rejected))];
  };
  std::vector<Mismatch> mismatches;
  std::vector<TrainSequence> sequences;
  for (size_t i = 0; i < units.size(); ++i) {
    Mismatch m(answer_of(units[i]), answer_of(units[(i + 1) % units.size()]));
    if (static_cast<int64_t>(m.ids.size()) <= context_) mismatches.push_back(std::move(m));
  }
  for (const Mismatch& m : mismatches) sequences.push_back({m.ids, m.weights});
  if (sequences.empty()) return 0.0;
  GEIST_ASSIGN(const auto policy, sums(engine, sequences));
  GEIST_ASSIGN(const auto reference, sums(*reference_, sequences));
  double sum = 0;
  for (size_t i = 0; i < policy.size(); ++i) sum += policy[i] - reference[i];
  return std::max(0.0, sum / static_cast<double>(policy.size()));
}

AnswerLogs PreferenceObjective::logs(const Set& set, int64_t answer, double policy) const {
  const auto at = static_cast<size_t>(answer);
  return {policy, set.reference[at], learned_tokens(set.answers[at])};
}

PreferenceObjective::UnitLoss PreferenceObjective::loss_of(const Set& set, const Unit& unit,
                                                           double chosen, double rejected,
                                                           double kl) const {
  if (o_.kind == PreferenceKind::kKto) {
    const bool desirable = unit.chosen >= 0;
    const AnswerLoss loss =
        desirable ? kto_loss(logs(set, unit.chosen, chosen), true, kl, o_.beta, o_.desirable_weight)
                  : kto_loss(logs(set, unit.rejected, rejected), false, kl, o_.beta,
                             o_.undesirable_weight);
    return {loss.loss, loss.d, loss.d};
  }
  const AnswerLogs a = logs(set, unit.chosen, chosen), b = logs(set, unit.rejected, rejected);
  const PairLoss loss = o_.kind == PreferenceKind::kDpo ? dpo_loss(a, b, o_.beta, o_.smoothing)
                                                        : ipo_loss(a, b, o_.beta);
  return {loss.loss, loss.d_chosen, loss.d_rejected};
}

double PreferenceObjective::margin_of(const Set& set, const Unit& pair, double chosen,
                                      double rejected) const {
  return o_.beta *
         (logs(set, pair.chosen, chosen).ratio() - logs(set, pair.rejected, rejected).ratio());
}

Status PreferenceObjective::accumulate(std::span<const Unit> units, double kl,
                                       GradientEngine& engine, Totals* totals) {
  std::vector<TrainSequence> sequences;
  for (const Unit& unit : units)
    for (const int64_t answer : {unit.chosen, unit.rejected})
      if (answer >= 0) sequences.push_back(train_.answers[static_cast<size_t>(answer)]);
  RowOutputs rows;
  GEIST_TRY(engine.forward(sequences, &rows));
  const std::vector<double> policy = sums_by_sequence(rows.log_probabilities, sequences);
  std::vector<float> weights;
  size_t at = 0;
  const auto push = [&](double d) {  // the loss is of -log p
    const auto weight = static_cast<float>(-d / static_cast<double>(o_.batch));
    weights.insert(weights.end(), static_cast<size_t>(learned_tokens(sequences[at++])), weight);
  };
  for (const Unit& unit : units) {
    const double chosen = unit.chosen >= 0 ? policy[at] : 0;
    const double rejected = unit.rejected >= 0 ? policy[at + (unit.chosen >= 0 ? 1 : 0)] : 0;
    const UnitLoss loss = loss_of(train_, unit, chosen, rejected, kl);
    totals->loss += loss.loss;
    if (unit.chosen >= 0) push(loss.d_chosen);
    if (unit.rejected >= 0) push(loss.d_rejected);
    if (unit.chosen < 0 || unit.rejected < 0) continue;
    const double margin = margin_of(train_, unit, chosen, rejected);
    totals->margin += margin;
    totals->right += margin > 0 ? 1 : 0;
  }
  for (const TrainSequence& s : sequences) totals->tokens += static_cast<int64_t>(s.ids.size()) - 1;
  GEIST_TRY(engine.backward(weights, {}, 1.0f));
  return {};
}

Result<StepOutcome> PreferenceObjective::step(int64_t step, GradientEngine& engine,
                                              const Update& update) {
  std::vector<Unit> units;
  for (int64_t i = 0; i < o_.batch; ++i)
    units.push_back(train_.units[static_cast<size_t>(order_.at(step * o_.batch + i))]);
  GEIST_TRY(ask_reference(train_, units));
  GEIST_ASSIGN(const double kl, divergence(train_, units, engine));
  engine.clear();
  Totals totals;
  const auto at_once = static_cast<size_t>(o_.at_once);
  for (size_t i = 0; i < units.size(); i += at_once)
    GEIST_TRY(accumulate(std::span(units).subspan(i, std::min(at_once, units.size() - i)), kl,
                         engine, &totals));
  const auto count = static_cast<double>(o_.batch);
  StepOutcome outcome{.loss = totals.loss / count, .tokens = totals.tokens};
  if (o_.kind == PreferenceKind::kKto) {
    outcome.metrics = {{"kl", kl}};
  } else {
    outcome.metrics = {{"margin", totals.margin / count}, {"accuracy", totals.right / count}};
  }
  if (!std::isfinite(outcome.loss)) return outcome;
  GEIST_ASSIGN(outcome.update, update());
  return outcome;
}

Result<Validation> PreferenceObjective::validate(GradientEngine& engine) {
  GEIST_TRY(ask_reference(held_out_, held_out_.units));
  GEIST_ASSIGN(const std::vector<double> policy, sums(engine, held_out_.answers));
  GEIST_ASSIGN(const double kl, divergence(held_out_, held_out_.units, engine));
  const auto of = [&](int64_t answer) {
    return answer >= 0 ? policy[static_cast<size_t>(answer)] : 0;
  };
  Validation out{.loss = 0};
  for (const Unit& unit : held_out_.units)
    *out.loss += loss_of(held_out_, unit, of(unit.chosen), of(unit.rejected), kl).loss /
                 static_cast<double>(held_out_.units.size());
  double margin = 0, right = 0;
  const auto count = static_cast<double>(std::max<size_t>(1, held_out_.pairs.size()));
  for (const Unit& pair : held_out_.pairs) {
    const double m = margin_of(held_out_, pair, of(pair.chosen), of(pair.rejected));
    margin += m / count;
    right += (m > 0 ? 1 : 0) / count;
  }
  out.metrics = {{"validation_margin", margin}, {"validation_accuracy", right}};
  return out;
}

}  // namespace geist::train
