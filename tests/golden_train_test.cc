// Gradients and the loss curve of 50 steps against PyTorch (tests/golden/train/make_golden.py).
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "train/gradient.h"
#include "train/optimizer.h"

namespace geist::train {
namespace {

constexpr size_t kRows = 4, kTokens = 33;

// The batches of make_golden.py.
std::vector<std::vector<text::TokenId>> rows_of(int64_t vocab) {
  std::vector<std::vector<text::TokenId>> rows(3 * kRows);
  int64_t state = 12345;
  for (auto& row : rows) {
    for (size_t i = 0; i < kTokens; ++i) {
      state = (1103515245 * state + 12345) % (int64_t{1} << 31);
      row.push_back(static_cast<text::TokenId>((state >> 8) % vocab));
    }
  }
  return rows;
}

void expect_gradients(const TrainedModel& trained, const float* gradient,
                      const nlohmann::json& golden) {
  for (const Parameter& p : trained.parameters()) {
    double squares = 0, product = 0;
    for (int64_t i = 0; i < p.count; ++i) {
      const double g = double{gradient[p.offset + i]}, sign = i % 2 == 0 ? 1.0 : -1.0;
      squares += g * g;
      product += sign * g / static_cast<double>(i + 1);
    }
    const double norm = golden.at(p.name)[0];
    EXPECT_NEAR(std::sqrt(squares), norm, 1e-5 * norm) << p.name;
    EXPECT_NEAR(product, golden.at(p.name)[1].get<double>(), 1e-5 * norm) << p.name;
  }
}

class GoldenTrain : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenTrain, FollowsPyTorch) {
  const std::string folder = std::string(GEIST_SOURCE_DIR) + "/tests/golden/";
  const auto text = read_file(folder + "train/" + GetParam() + ".json");
  ASSERT_TRUE(text.ok());
  const auto golden = nlohmann::json::parse(*text);
  auto file = gguf::File::open(folder + "models/" + GetParam() + ".gguf");
  ASSERT_TRUE(file.ok());
  auto trained = TrainedModel::make(*file);
  ASSERT_TRUE(trained.ok()) << trained.error().message;
  ThreadPool pool(2);
  OptimizerOptions options{.learning_rate = 1e-3};
  options.schedule.kind = ScheduleKind::kConstant;
  auto engine = GradientEngine::make(*trained, pool);
  auto optimizer = Optimizer::make(*trained, options, pool);
  ASSERT_TRUE(engine.ok() && optimizer.ok());
  const auto rows = rows_of(trained->model().config().vocab_size);
  const size_t steps = golden["losses"].size();
  ASSERT_EQ(steps, 50u);
  for (size_t step = 0; step < steps; ++step) {
    std::vector<TrainSequence> batch;
    for (size_t r = 0; r < kRows; ++r) batch.push_back({rows[step % 3 * kRows + r]});
    (*engine)->clear();
    const auto sums = (*engine)->accumulate(batch, 1.0f / (kRows * (kTokens - 1)));
    ASSERT_TRUE(sums.ok());
    FloatBlock& gradient = (*engine)->finish();
    if (step == 0) expect_gradients(*trained, gradient.data(), golden["gradients"]);
    const auto report = optimizer->step(static_cast<int64_t>(step), gradient);
    ASSERT_TRUE(report.ok());
    trained->weights_changed();
    // Rounding differs, and Adam's quotient carries it on.
    const double loss = golden["losses"][step], norm = golden["norms"][step];
    EXPECT_NEAR(sums->mean(), loss, 1e-4 * loss) << step;
    EXPECT_NEAR(report->gradient_norm, norm, 1e-3 * norm) << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTrain, ::testing::Values("llama-f16", "qwen2", "gpt2"));

}  // namespace
}  // namespace geist::train
