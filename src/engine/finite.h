// Whether what a model gave are numbers at all. Weights that are damaged, or too large, come out as
// NaN or infinity, and whatever is made of those is nonsense that looks like an answer.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace geist::engine {

inline Status check_finite(std::span<const float> row) {
  uint32_t worst = 0;
  for (const float x : row) worst |= (std::bit_cast<uint32_t>(x) & 0x7f800000u) == 0x7f800000u;
  if (worst == 0) return {};
  return errorf(
      "the model gives numbers that are not finite: its weights are damaged or too large; get the "
      "file again");
}

}  // namespace geist::engine
