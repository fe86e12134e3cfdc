// What the kernel tests share: the tables this processor can run, reproducible inputs, and
// comparison of bytes.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "kernels/kernels.h"

namespace geist::kernels {

inline constexpr int64_t kOddSizes[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 1000};

// Every table but the scalar one.
inline std::vector<const Kernels*> other_kernels() {
  std::vector<const Kernels*> tables;
  for (const Kernels* k : all_kernels())
    if (k->isa != Isa::kScalar) tables.push_back(k);
  return tables;
}

// Uniform in [-limit, limit).
inline std::vector<float> random_floats(int64_t n, std::string_view stream, float limit = 1.0f) {
  RandomStream random(7, stream);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = static_cast<float>(random.next_double() * 2 - 1) * limit;
  return out;
}

template <typename A, typename B>
::testing::AssertionResult same_bytes(const A& a, const B& b) {
  const std::span<const float> x(a), y(b);
  if (x.size() != y.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::memcmp(&x[i], &y[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure()
             << "element " << i << " of " << x.size() << ": " << x[i] << " and " << y[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace geist::kernels
