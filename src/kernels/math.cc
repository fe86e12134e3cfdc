// Double precision exp, log, pow, sin and cos from IEEE-754 operations alone. Steps and constants
// are stated in docs/numerics.md. Series are Taylor's, long enough that truncation is far below
// rounding, so that every coefficient is a plain quotient that a reader can check.
#include "kernels/math.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/simd_math.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
// ln 2: the high part has 42 bits, so that n times it is exact for |n| < 2^11.
constexpr double kLn2High = 0x1.62e42fefa3800p-1, kLn2Low = 0x1.ef35793c76730p-45;
constexpr double kRoundingMagic = 0x1.8p52;  // adding and subtracting it rounds to an integer

// Series from their last coefficient to their first, for horner().
// exp(r) = 1 + r + r^2 (1/2! + r/3! + ... + r^12/14!)
constexpr double kExpSeries[] = {
    1.0 / 87178291200.0, 1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
    1.0 / 362880.0,      1.0 / 40320.0,      1.0 / 5040.0,      1.0 / 720.0,      1.0 / 120.0,
    1.0 / 24.0,          1.0 / 6.0,          1.0 / 2.0};
// ln((1 + s) / (1 - s)) = 2 s (1 + z (1/3 + z/5 + ... + z^11/25)), z = s^2
constexpr double kLogSeries[] = {1.0 / 25, 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15,
                                 1.0 / 13, 1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3};
// sin(r) = r + r z (-1/3! + z/5! - ... - z^8/19!), z = r^2
constexpr double kSinSeries[] = {-1.0 / 121645100408832000.0,
                                 1.0 / 355687428096000.0,
                                 -1.0 / 1307674368000.0,
                                 1.0 / 6227020800.0,
                                 -1.0 / 39916800.0,
                                 1.0 / 362880.0,
                                 -1.0 / 5040.0,
                                 1.0 / 120.0,
                                 -1.0 / 6.0};
// cos(r) = 1 - z/2 + z^2 (1/4! - z/6! + ... - z^7/18!), z = r^2
constexpr double kCosSeries[] = {
    -1.0 / 6402373705728000.0, 1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0,
    -1.0 / 3628800.0,          1.0 / 40320.0,          -1.0 / 720.0,         1.0 / 24.0};

template <size_t kCount>
double horner(const double (&series)[kCount], double x) {
  double p = series[0];
  for (size_t i = 1; i < kCount; ++i) p = p * x + series[i];
  return p;
}

// An unevaluated sum: high is the rounded sum, low what rounding lost.
struct DoubleDouble {
  double high, low;
};

DoubleDouble two_sum(double a, double b) {  // Knuth
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

DoubleDouble two_product(double a, double b) {  // Dekker; |a|, |b| < 2^995
  const double a_scaled = a * 0x1.0000002p27, b_scaled = b * 0x1.0000002p27;  // 2^27 + 1
  const double a_high = a_scaled - (a_scaled - a), a_low = a - a_high;
  const double b_high = b_scaled - (b_scaled - b), b_low = b - b_high;
  const double product = a * b;
  return {product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low};
}

// 2^n for n in [-1022, 1023].
double power_of_two(int64_t n) {
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

// exp(high + low), |low| far below 1.
double exp_of_sum(double high, double low) {
  if (high != high) return high;
  if (high > 709.8) return kInfinity;
  if (high < -745.2) return 0.0;
  const double n = (high * 0x1.71547652b82fep+0 + kRoundingMagic) - kRoundingMagic;  // log2(e)
  const double r = ((high - n * kLn2High) - n * kLn2Low) + low;
  const double y = 1.0 + (r + r * r * horner(kExpSeries, r));
  // In two steps, so that a subnormal result or one just below overflow is reached.
  const int64_t whole = static_cast<int64_t>(n), half = whole / 2;
  return y * power_of_two(half) * power_of_two(whole - half);
}

// ln(x) for finite x > 0 as a double-double.
DoubleDouble log_of(double x) {
  int64_t exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    exponent = -54;
  }
  uint64_t bits = std::bit_cast<uint64_t>(x);
  exponent += static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
  if (m > 0x1.6a09e667f3bcdp+0) {  // sqrt(2)
    m *= 0.5;
    exponent += 1;
  }
  // With s = f / (2 + f): ln(1 + f) = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172. s is kept in two
  // parts.
  const double f = m - 1.0;
  const DoubleDouble divisor = two_sum(2.0, f);
  const double s = f / divisor.high;
  const DoubleDouble product = two_product(s, divisor.high);
  const double s_low = (((f - product.high) - product.low) - s * divisor.low) / divisor.high;
  const double z = s * s;
  const double p = horner(kLogSeries, z);
  const double n = static_cast<double>(exponent);
  // n * kLn2High is exact, and the largest term unless n is 0.
  const DoubleDouble whole = two_sum(n * kLn2High, 2.0 * s);
  const double rest = 2.0 * (s * z * p) + (2.0 * s_low + (n * kLn2Low + whole.low));
  const DoubleDouble sum = two_sum(whole.high, rest);
  return sum;
}

// x - n pi/2 in two parts, and n mod 4, for |x| <= 2^30. The first three parts of pi/2 have 23
// bits, so their products with n (30 bits) are exact.
struct Reduced {
  double high, low;
  int64_t quadrant;
};

Reduced reduce_half_pi(double x) {
  const double n = (x * 0x1.45f306dc9c883p-1 + kRoundingMagic) - kRoundingMagic;
  const double first = (x - n * 0x1.921fb4p+0) - n * 0x1.4442dp-24;
  const DoubleDouble sum = two_sum(first, -(n * 0x1.84698p-48));
  const double low = sum.low - n * 0x1.3198a2e037073p-69;
  const DoubleDouble r = two_sum(sum.high, low);
  return {r.high, r.low, static_cast<int64_t>(n) & 3};
}

double sin_of(double r, double low) {  // |r| <= pi/4
  const double z = r * r;
  return r + (r * z * horner(kSinSeries, z) + low * (1.0 - 0.5 * z));
}

double cos_of(double r, double low) {
  const double z = r * r;
  const double half = 0.5 * z, first = 1.0 - half;
  return first + (((1.0 - first) - half) + (z * z * horner(kCosSeries, z) - r * low));
}

double sin_of_quadrant(const Reduced& r, int64_t quadrant) {
  const double value = quadrant & 1 ? cos_of(r.high, r.low) : sin_of(r.high, r.low);
  return quadrant & 2 ? -value : value;
}

}  // namespace

double det_exp(double x) { return exp_of_sum(x, 0.0); }

double det_log(double x) {
  if (x != x || x == kInfinity) return x;
  if (x == 0.0) return -kInfinity;
  if (x < 0.0) return kNan;
  return log_of(x).high;
}

double det_pow(double x, double y) {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (x != x || y != y || x < 0.0) return kNan;
  if (x == 0.0 || x == kInfinity) return (x == 0.0) == (y > 0.0) ? 0.0 : kInfinity;
  if (y == kInfinity || y == -kInfinity) return (x > 1.0) == (y > 0.0) ? kInfinity : 0.0;
  const DoubleDouble log = log_of(x);
  if (y * log.high > 746.0) return kInfinity;
  if (y * log.high < -746.0) return 0.0;
  const DoubleDouble product = two_product(y, log.high);
  return exp_of_sum(product.high, product.low + y * log.low);
}

double det_sin(double x) {
  const Reduced r = reduce_half_pi(x);
  return sin_of_quadrant(r, r.quadrant);
}

double det_cos(double x) {
  const Reduced r = reduce_half_pi(x);
  return sin_of_quadrant(r, r.quadrant + 1);
}

float det_expf(float x) { return simd_exp<OneLane>(x); }
float det_tanhf(float x) { return simd_tanh<OneLane>(x); }
float det_sigmoidf(float x) { return simd_sigmoid<OneLane>(x); }

}  // namespace geist::kernels
