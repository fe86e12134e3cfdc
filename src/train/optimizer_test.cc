#include "train/optimizer.h"

#include <cmath>
#include <cstring>

#include "train/train_test_support.h"

namespace geist::train {
namespace {

TEST(Schedule, WarmsUpAndComesDown) {
  Schedule cosine{.kind = ScheduleKind::kCosine, .steps = 110, .warmup_steps = 10};
  EXPECT_DOUBLE_EQ(cosine.factor(0), 0.1);
  EXPECT_DOUBLE_EQ(cosine.factor(9), 1.0);
  EXPECT_DOUBLE_EQ(cosine.factor(10), 1.0);
  EXPECT_NEAR(cosine.factor(60), 0.55, 1e-12);
  EXPECT_NEAR(cosine.factor(109), 0.1, 1e-3);
  Schedule stable{.kind = ScheduleKind::kStableDecay, .steps = 100, .decay_steps = 20};
  stable.final_ratio = 0;
  EXPECT_DOUBLE_EQ(stable.factor(79), 1.0);
  EXPECT_DOUBLE_EQ(stable.factor(90), 0.5);
  EXPECT_DOUBLE_EQ(Schedule{.kind = ScheduleKind::kConstant}.factor(999), 1.0);
}

TEST(Orthogonalizer, MakesSingularValuesNearOne) {
  ThreadPool pool(2);
  Orthogonalizer orthogonalizer(*kernels::kernels_for(kernels::Isa::kScalar), pool);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{6, 20}, {20, 6}}) {
    RandomStream random(2, "x");
    std::vector<float> x(static_cast<size_t>(rows * cols));
    for (float& v : x) v = static_cast<float>(random.next_double() - 0.5);
    orthogonalizer.run(x.data(), rows, cols);
    // The small side's Gram matrix is nearly the identity; the iteration leaves values in 0.7..1.2.
    const int64_t n = std::min(rows, cols);
    for (int64_t a = 0; a < n; ++a) {
      for (int64_t b = 0; b < n; ++b) {
        double sum = 0;
        for (int64_t i = 0; i < std::max(rows, cols); ++i) {
          const auto at = [&](int64_t k) {
            return double{x[static_cast<size_t>(rows <= cols ? k * cols + i : i * cols + k)]};
          };
          sum += at(a) * at(b);
        }
        EXPECT_NEAR(sum, a == b ? 1.0 : 0.0, 0.5) << a << " " << b;
      }
    }
  }
}

TEST(Optimizer, ClipsDecaysMatricesOnlyAndAverages) {
  TrainedModel trained = small_model();
  ThreadPool pool(2);
  OptimizerOptions options{.learning_rate = 0.5, .weight_decay = 0.1, .clip = 1.0, .average = 0.75};
  options.schedule.kind = ScheduleKind::kConstant;
  Optimizer optimizer = must(Optimizer::make(trained, options, pool));
  const std::vector<float> before(trained.weights().data(),
                                  trained.weights().data() + trained.weights().size());
  FloatBlock gradient = must(FloatBlock::make(trained.weights().size()));
  StepReport report = must(optimizer.step(0, gradient));  // a gradient of 0: decay alone
  EXPECT_EQ(report.gradient_norm, 0);
  EXPECT_FALSE(report.clipped);
  for (const Parameter& p : trained.parameters()) {
    const auto at = static_cast<size_t>(p.offset);
    const float factor = p.is_matrix() ? 1.0f - 0.5f * 0.1f : 1.0f;
    EXPECT_FLOAT_EQ(trained.weights().data()[at], before[at] * factor) << p.name;
    EXPECT_NEAR(optimizer.averaged().data()[at],
                0.75f * before[at] + 0.25f * trained.weights().data()[at], 1e-7);
  }
  gradient.data()[0] = 300;
  gradient.data()[1] = 400;
  report = must(optimizer.step(1, gradient));
  EXPECT_DOUBLE_EQ(report.gradient_norm, 500);
  EXPECT_TRUE(report.clipped);
  EXPECT_FLOAT_EQ(optimizer.first().data()[0], 0.1f * 0.6f);
}

TEST(Optimizer, LeavesTheWeightsAloneWhenAGradientIsNotFinite) {
  TrainedModel trained = small_model();
  ThreadPool pool(1);
  Optimizer optimizer = must(Optimizer::make(trained, {}, pool));
  FloatBlock gradient = must(FloatBlock::make(trained.weights().size()));
  gradient.data()[5] = std::nanf("");
  const std::string hash = trained.hash();
  const auto report = must(optimizer.step(3, gradient));
  EXPECT_FALSE(std::isfinite(report.gradient_norm));
  EXPECT_EQ(trained.hash(), hash);
}

}  // namespace
}  // namespace geist::train
