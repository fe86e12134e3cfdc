// Size arithmetic on numbers that come from outside: every product and sum that becomes an
// allocation or an offset is checked before it is used (CVE-2024-21802 and its kin).
#pragma once

#include <concepts>
#include <optional>

namespace geist {

template <std::integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_mul(T a, T b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

}  // namespace geist
