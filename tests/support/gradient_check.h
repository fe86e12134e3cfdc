// A gradient against differences of a loss in double.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "tests/support/reference_loss.h"
#include "train/trained_model.h"

namespace geist::testing {

// Expects of every parameter's gradient that it is not all 0 (of `unused`: that it is) and that,
// along a random direction, it is the central difference of `loss` within 1e-4 of its length and
// 2e-6. Weights: the point, by the parameters' names; as they were when this returns.
void expect_gradient(std::span<const train::Parameter> parameters, std::span<const float> gradient,
                     Weights& weights, const std::function<double()>& loss,
                     std::string_view unused = "");

}  // namespace geist::testing
