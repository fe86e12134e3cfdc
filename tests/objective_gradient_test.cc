// The gradient of each objective of alignment, through the whole model, against differences of the
// papers' losses written again in double with the C library (support/reference_loss.h).
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/rng.h"
#include "tests/support/gradient_check.h"
#include "tests/support/random_model.h"
#include "tests/support/reference_loss.h"
#include "train/policy_objective.h"
#include "train/preference_objective.h"
#include "train/reward_objective.h"
#include "train/scalar_head.h"

namespace geist::train {
namespace {

using testing::Weights;
using Ids = std::vector<text::TokenId>;
using Loss = std::function<double(const Weights&)>;

template <typename T>
T must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return std::move(result).value();
}

gguf::File model_with_head(uint64_t seed, const char* head) {
  return must(
      with_scalar_head(testing::random_model("llama", kernels::TensorType::kF32, seed), head));
}

// A head that is not 0, so that its gradient reaches the layers.
void fill_head(TrainedModel& trained, const char* head) {
  RandomStream random(4, head);
  for (const Parameter& p : trained.parameters())
    for (int64_t i = 0; p.name == head && i < p.count; ++i)
      trained.weights().data()[p.offset + i] = static_cast<float>(random.next_double() - 0.5);
}

Weights weights_of(const TrainedModel& trained) {
  Weights weights;
  for (const Parameter& p : trained.parameters()) {
    const float* data = trained.weights().data() + p.offset;
    weights[p.name].assign(data, data + p.count);
  }
  return weights;
}

// The gradient of the first update of step 0.
std::vector<float> gradient_of(const TrainedModel& trained, Objective& objective, ThreadPool& pool,
                               double* loss) {
  auto engine = must(GradientEngine::make(trained, pool));
  EXPECT_TRUE(objective.begin(*engine).ok());
  std::vector<float> gradient;
  const Update update = [&]() -> Result<StepReport> {
    const auto span = engine->finish().span();
    gradient.assign(span.begin(), span.end());
    return StepReport{};
  };
  const auto outcome = objective.step(0, *engine, update);
  EXPECT_TRUE(outcome.ok()) << (outcome.ok() ? "" : outcome.error().message);
  *loss = outcome->loss;
  return gradient;
}

void expect_gradient(const TrainedModel& trained, const std::vector<float>& gradient,
                     const Loss& loss, std::string_view unused = "") {
  Weights weights = weights_of(trained);
  testing::expect_gradient(
      trained.parameters(), gradient, weights, [&] { return loss(weights); }, unused);
}

struct Answers {
  std::vector<Ids> ids;
  std::vector<std::vector<float>> weights;
  std::vector<TrainSequence> sequences() const {
    std::vector<TrainSequence> list;
    for (size_t i = 0; i < ids.size(); ++i) list.push_back({ids[i], weights[i]});
    return list;
  }
};
// Pairs that share a prompt: answers 0 and 1, 2 and 3, ...
Answers random_answers(int pairs, uint64_t vocab) {
  RandomStream random(3, "answers");
  Answers out;
  for (int i = 0; i < pairs; ++i) {
    Ids prompt(1 + random.next_below(5));
    for (auto& id : prompt) id = static_cast<int32_t>(random.next_below(vocab));
    for (int side = 0; side < 2; ++side) {
      Ids ids = prompt;
      const uint64_t length = 1 + random.next_below(6);
      for (uint64_t j = 0; j < length; ++j)
        ids.push_back(static_cast<int32_t>(random.next_below(vocab)));
      out.weights.emplace_back(ids.size() - 1, 0.0f);
      std::fill(out.weights.back().begin() + static_cast<std::ptrdiff_t>(prompt.size()) - 1,
                out.weights.back().end(), 1.0f);
      out.ids.push_back(ids);
    }
  }
  return out;
}

double answer_log(const gguf::Metadata& metadata, const Weights& weights, const Ids& ids,
                  std::span<const float> mask) {
  const auto logs = testing::reference_log_probabilities(metadata, weights, ids);
  double sum = 0;
  for (size_t t = 0; t < logs.size(); ++t) sum += mask[t] != 0.0f ? logs[t] : 0;
  return sum;
}

double plain_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

class Preference : public ::testing::TestWithParam<PreferenceKind> {};

TEST_P(Preference, GradientIsThatOfItsPaper) {
  const gguf::File file = testing::random_model("llama", kernels::TensorType::kF32, 5);
  const gguf::File other = testing::random_model("llama", kernels::TensorType::kF32, 6);
  const TrainedModel trained = must(TrainedModel::make(file));
  const TrainedModel reference = must(TrainedModel::make(other));
  const Answers data = random_answers(3, 40);
  const auto sequences = data.sequences();
  std::vector<AnswerPair> pairs;
  for (size_t i = 0; i < sequences.size(); i += 2)
    pairs.push_back({sequences[i], sequences[i + 1]});
  const bool kto = GetParam() == PreferenceKind::kKto;
  const double beta = 0.3;
  ThreadPool pool(2);
  auto objective = must(PreferenceObjective::make(
      {.kind = GetParam(), .beta = beta, .batch = kto ? 6 : 3, .at_once = 2}, reference, pairs, {},
      pool));
  double loss = 0;
  const auto gradient = gradient_of(trained, *objective, pool, &loss);

  const Weights fixed = testing::read_weights(other);
  std::vector<double> old;
  for (size_t i = 0; i < data.ids.size(); ++i)
    old.push_back(answer_log(file.metadata(), fixed, data.ids[i], data.weights[i]));
  // KTO's estimate of the divergence is a constant of the batch: read off the loss below.
  double kl = 0;
  const Loss expected = [&](const Weights& w) {
    double sum = 0;
    std::vector<double> ratio, tokens;
    for (size_t i = 0; i < data.ids.size(); ++i) {
      ratio.push_back(answer_log(file.metadata(), w, data.ids[i], data.weights[i]) - old[i]);
      tokens.push_back(
          static_cast<double>(std::count(data.weights[i].begin(), data.weights[i].end(), 1.0f)));
    }
    for (size_t i = 0; i < ratio.size(); i += 2) {
      const double a = ratio[i], b = ratio[i + 1];
      if (GetParam() == PreferenceKind::kDpo)
        sum -= std::log(plain_sigmoid(beta * (a - b))) / 3;
      else if (GetParam() == PreferenceKind::kIpo)
        sum += std::pow(a / tokens[i] - b / tokens[i + 1] - 1 / (2 * beta), 2) / 3;
      else
        sum += (2 - plain_sigmoid(beta * (a - kl)) - plain_sigmoid(beta * (kl - b))) / 6;
    }
    return sum;
  };
  if (kto) {  // the order of the batch is the objective's: solve for what it took
    auto engine = must(GradientEngine::make(trained, pool));
    const auto outcome =
        objective->step(0, *engine, [] { return Result<StepReport>(StepReport{}); });
    ASSERT_TRUE(outcome.ok());
    ASSERT_EQ(outcome->metrics[0].first, "kl");
    kl = outcome->metrics[0].second;
  }
  EXPECT_NEAR(loss, expected(weights_of(trained)), 1e-4);
  expect_gradient(trained, gradient, expected);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Preference,
                         ::testing::Values(PreferenceKind::kDpo, PreferenceKind::kIpo,
                                           PreferenceKind::kKto),
                         [](const auto& kind) -> std::string {
                           return kind.param == PreferenceKind::kDpo   ? "Dpo"
                                  : kind.param == PreferenceKind::kIpo ? "Ipo"
                                                                       : "Kto";
                         });

TEST(Reward, GradientIsThatOfPlackettAndLuce) {
  TrainedModel trained = must(TrainedModel::make(model_with_head(5, engine::kRewardHead)));
  fill_head(trained, engine::kRewardHead);
  const Answers data = random_answers(3, 40);
  EncodedPreference three, two;
  for (size_t i = 0; i < 5; ++i)
    (i < 3 ? three : two).answers.push_back({.ids = data.ids[i], .weights = data.weights[i]});
  const std::vector<RankedAnswers> rankings = {RankedAnswers(three), RankedAnswers(two)};
  ThreadPool pool(2);
  RewardObjective objective({.batch = 2, .at_once = 1}, rankings, {});
  double loss = 0;
  const auto gradient = gradient_of(trained, objective, pool, &loss);
  const Loss expected = [&](const Weights& w) {
    std::vector<double> r;
    for (size_t i = 0; i < 5; ++i) {
      Ids ids = data.ids[i];
      ids.push_back(0);
      r.push_back(
          testing::reference_scalars(trained.metadata(), w, ids, engine::kRewardHead).back());
    }
    const auto e = [&](size_t i) { return std::exp(r[i]); };
    return -(std::log(e(0) / (e(0) + e(1) + e(2))) + std::log(e(1) / (e(1) + e(2))) +
             std::log(e(3) / (e(3) + e(4)))) /
           2;
  };
  EXPECT_NEAR(loss, expected(weights_of(trained)), 1e-5);
  expect_gradient(trained, gradient, expected, "output.weight");

  // The engine gives the trainer's rewards to the bit.
  auto engine = must(GradientEngine::make(trained, pool));
  ASSERT_TRUE(engine->use_scalar_head(engine::kRewardHead).ok());
  const engine::RewardHead head = must(engine::RewardHead::load(trained.model()));
  engine::Runner runner(trained.model(), pool);
  for (const RankedAnswers::Answer& a : rankings[0].answers) {
    RowOutputs rows;
    const TrainSequence sequence{.ids = a.ids, .scalar_weights = a.scalar_weights};
    ASSERT_TRUE(engine->evaluate({&sequence, 1}, &rows).ok());
    ASSERT_EQ(rows.scalars.size(), 1u);
    EXPECT_EQ(must(head.score(runner, std::span(a.ids).first(a.ids.size() - 1))), rows.scalars[0]);
  }
}

class Policy : public ::testing::TestWithParam<PolicyKind> {};

TEST_P(Policy, GradientIsThatOfItsPaper) {
  const bool ppo = GetParam() == PolicyKind::kPpo;
  const std::string value_head(kValueHead);
  TrainedModel trained = must(TrainedModel::make(model_with_head(5, value_head.c_str())));
  fill_head(trained, value_head.c_str());
  const gguf::File other = testing::random_model("llama", kernels::TensorType::kF32, 6);
  const TrainedModel reference = must(TrainedModel::make(other));
  text::Vocabulary vocabulary;
  for (int i = 0; i < trained.model().config().vocab_size; ++i)
    vocabulary.tokens.push_back("t" + std::to_string(i));
  const text::Tokenizer tokenizer = must(text::Tokenizer::create(std::move(vocabulary)));

  PolicyOptions o{.kind = GetParam(), .tasks = 2, .group = 3};
  o.rows_at_once = 4;
  o.rollout.tokens_max = 4;
  o.kl_price = 0.3;
  o.discount = 0.9;
  std::vector<Rollout> rollouts;
  std::vector<double> rewards;
  PolicyEnvironment environment;
  environment.tasks = [](int64_t i) {
    return Result<Task>(Task{{1, static_cast<int32_t>(5 + i), 3}, {}, {}, {}});
  };
  environment.reward = [&](std::span<const Answered> answers) -> Result<std::vector<double>> {
    for (const Answered& a : answers) {
      rollouts.push_back(*a.rollout);
      rewards.push_back(std::sin(static_cast<double>(a.rollout->ids.back())));
    }
    return rewards;
  };
  ThreadPool pool(2);
  auto objective =
      must(PolicyObjective::make(o, trained, reference, tokenizer, std::move(environment), pool));
  double loss = 0;
  const auto gradient = gradient_of(trained, *objective, pool, &loss);
  ASSERT_EQ(rollouts.size(), 6u);

  const auto logs_of = [&](const Weights& w, const Rollout& r) {
    auto logs = testing::reference_log_probabilities(trained.metadata(), w, r.ids);
    logs.erase(logs.begin(), logs.begin() + r.prompt - 1);
    return logs;
  };
  const auto values_of = [&](const Weights& w, const Rollout& r) {
    auto values = testing::reference_scalars(trained.metadata(), w, r.ids, value_head);
    values.erase(values.begin(), values.begin() + r.prompt - 1);
    return values;
  };
  const Weights start = weights_of(trained), fixed = testing::read_weights(other);
  using Table = std::vector<std::vector<double>>;
  Table old, base, advantages, returns;
  for (const Rollout& r : rollouts) {
    old.push_back(logs_of(start, r));
    base.push_back(logs_of(fixed, r));
  }
  if (ppo) {
    double mean = 0, square = 0, count = 0;
    for (size_t i = 0; i < rollouts.size(); ++i) {
      const auto v = values_of(start, rollouts[i]);
      const size_t n = v.size();
      std::vector<double> a(n), ret(n);
      for (size_t t = n; t-- > 0;) {
        const double r = -o.kl_price * (old[i][t] - base[i][t]) + (t + 1 == n ? rewards[i] : 0);
        const double next_v = t + 1 < n ? v[t + 1] : 0, next_a = t + 1 < n ? a[t + 1] : 0;
        a[t] = r + o.discount * next_v - v[t] + o.discount * o.lambda * next_a;
        ret[t] = a[t] + v[t];
        mean += a[t], square += a[t] * a[t], count += 1;
      }
      advantages.push_back(a);
      returns.push_back(ret);
    }
    mean /= count;
    const double deviation = std::sqrt(square / count - mean * mean);
    for (auto& answer : advantages)
      for (double& a : answer) a = (a - mean) / deviation;
  } else {
    for (size_t i = 0; i < rollouts.size(); ++i) {
      const size_t g = i / 3 * 3;
      std::vector<double> r;
      for (size_t j = g; j < g + 3; ++j) {
        double kl = 0;
        for (size_t t = 0; t < old[j].size(); ++t) kl += old[j][t] - base[j][t];
        r.push_back(rewards[j] - (GetParam() == PolicyKind::kRloo ? o.kl_price * kl : 0));
      }
      const double mean = (r[0] + r[1] + r[2]) / 3;
      double variance = 0;
      for (const double x : r) variance += (x - mean) * (x - mean) / 3;
      const double a = GetParam() == PolicyKind::kRloo ? (r[i - g] - mean) * 3 / 2
                                                       : (r[i - g] - mean) / std::sqrt(variance);
      advantages.emplace_back(old[i].size(), a);
    }
  }
  const Loss expected = [&](const Weights& w) {
    double sum = 0, tokens = 0;
    for (size_t i = 0; i < rollouts.size(); ++i) {
      const auto logs = logs_of(w, rollouts[i]);
      const auto values = ppo ? values_of(w, rollouts[i]) : std::vector<double>();
      for (size_t t = 0; t < logs.size(); ++t, tokens += 1) {
        sum -= std::exp(logs[t] - old[i][t]) * advantages[i][t];
        const double r = base[i][t] - logs[t];
        if (GetParam() == PolicyKind::kGrpo) sum += o.kl_price * (std::exp(r) - r - 1);
        if (ppo) sum += o.value_price * 0.5 * std::pow(values[t] - returns[i][t], 2);
      }
    }
    return sum / tokens;
  };
  EXPECT_NEAR(loss, expected(start), 1e-4 * std::max(1.0, std::abs(loss)));
  expect_gradient(trained, gradient, expected, ppo ? "" : kValueHead);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Policy,
                         ::testing::Values(PolicyKind::kPpo, PolicyKind::kGrpo, PolicyKind::kRloo),
                         [](const auto& kind) -> std::string {
                           return kind.param == PolicyKind::kPpo    ? "Ppo"
                                  : kind.param == PolicyKind::kGrpo ? "Grpo"
                                                                    : "Rloo";
                         });

}  // namespace
}  // namespace geist::train
