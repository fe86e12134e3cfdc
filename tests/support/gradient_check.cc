#include "tests/support/gradient_check.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace geist::testing {

void expect_gradient(std::span<const train::Parameter> parameters, std::span<const float> gradient,
                     Weights& weights, const std::function<double()>& loss,
                     std::string_view unused) {
  for (const train::Parameter& p : parameters) {
    RandomStream random(11, p.name);
    std::vector<double>& tensor = weights.at(p.name);
    const std::vector<double> at = tensor;
    std::vector<double> direction(tensor.size());
    double expected = 0, size = 0;
    for (size_t i = 0; i < tensor.size(); ++i) {
      direction[i] = random.next_double() * 2 - 1;
      const double g = double{gradient[static_cast<size_t>(p.offset) + i]};
      expected += g * direction[i];
      size += g * g;
    }
    const auto moved = [&](double step) {
      for (size_t i = 0; i < tensor.size(); ++i) tensor[i] = at[i] + step * direction[i];
      return loss();
    };
    const double step = 1e-5, difference = (moved(step) - moved(-step)) / (2 * step);
    tensor = at;
    EXPECT_EQ(size == 0, p.name == unused) << p.name;
    EXPECT_NEAR(expected, difference, 1e-4 * std::sqrt(size) + 2e-6) << p.name;
  }
}

}  // namespace geist::testing
