// Accuracy against glibc in long double (64-bit significand), in units of the last place.
#include "kernels/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/rng.h"

namespace geist::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr float kInfF = std::numeric_limits<float>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <typename T>
double error_ulp(T got, long double want) {
  const T rounded = static_cast<T>(want);
  int exponent = 0;
  std::frexp(rounded, &exponent);
  const int lowest = std::numeric_limits<T>::min_exponent;
  const long double ulp =
      std::ldexp(1.0L, std::max(exponent, lowest) - std::numeric_limits<T>::digits);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - want) / ulp);
}

// The largest error of f over `count` points uniform in [low, high].
template <typename T, typename F, typename Reference>
double worst(std::string_view stream, double low, double high, F f, Reference reference,
             int count = 200000) {
  RandomStream random(1, stream);
  double out = 0;
  for (int i = 0; i < count; ++i) {
    const T x = static_cast<T>(low + (high - low) * random.next_double());
    out = std::max(out, error_ulp<T>(f(x), reference(static_cast<long double>(x))));
  }
  return out;
}

TEST(Math, ExpIsWithinTwoUlp) {
  const auto reference = [](long double x) { return std::exp(x); };
  EXPECT_LT(worst<double>("exp", -708, 709.7, det_exp, reference), 2);
  EXPECT_LT(worst<double>("exp small", -1, 1, det_exp, reference), 2);
  EXPECT_LT(worst<double>("exp subnormal", -745, -708, det_exp, reference), 2);
  EXPECT_EQ(det_exp(0.0), 1.0);
  EXPECT_EQ(det_exp(710.0), kInf);
  EXPECT_EQ(det_exp(kInf), kInf);
  EXPECT_EQ(det_exp(-746.0), 0.0);
  EXPECT_EQ(det_exp(-kInf), 0.0);
  EXPECT_TRUE(std::isnan(det_exp(kNan)));
}

TEST(Math, LogIsWithinTwoUlp) {
  const auto reference = [](long double x) { return std::log(x); };
  EXPECT_LT(worst<double>("log", 0, 1e6, det_log, reference), 2);
  EXPECT_LT(worst<double>("log near 1", 0.9, 1.1, det_log, reference), 2);
  EXPECT_LT(worst<double>("log tiny", 0, 1e-300, det_log, reference), 2);
  EXPECT_LT(worst<double>("log subnormal", 0, 1e-310, det_log, reference), 2);
  EXPECT_LT(worst<double>("log huge", 1e300, 1e308, det_log, reference), 2);
  EXPECT_EQ(det_log(1.0), 0.0);
  EXPECT_EQ(det_log(0.0), -kInf);
  EXPECT_EQ(det_log(kInf), kInf);
  EXPECT_TRUE(std::isnan(det_log(-1.0)));
  EXPECT_TRUE(std::isnan(det_log(kNan)));
}

TEST(Math, PowIsWithinTwoUlp) {
  RandomStream random(1, "pow");
  double error = 0;
  for (int i = 0; i < 200000; ++i) {
    const double x = std::exp(random.next_double() * 20 - 10);
    const double y = random.next_double() * 8 - 4;
    error =
        std::max(error, error_ulp<double>(det_pow(x, y), std::pow(static_cast<long double>(x),
                                                                  static_cast<long double>(y))));
  }
  EXPECT_LT(error, 2);
  // The frequencies of RoPE.
  for (const double base : {1e4, 5e5, 1e6, 1e7}) {
    for (int i = 0; i < 128; ++i) {
      const double y = -2.0 * i / 256;
      EXPECT_LT(error_ulp<double>(det_pow(base, y), std::pow(static_cast<long double>(base),
                                                             static_cast<long double>(y))),
                2);
    }
  }
}

TEST(Math, PowAtTheEdges) {
  EXPECT_EQ(det_pow(2.0, 10.0), 1024.0);
  EXPECT_EQ(det_pow(2.0, -1074.0), 0x1p-1074);
  EXPECT_EQ(det_pow(0.0, 0.0), 1.0);
  EXPECT_EQ(det_pow(0.0, 2.0), 0.0);
  EXPECT_EQ(det_pow(0.0, -2.0), kInf);
  EXPECT_EQ(det_pow(10.0, 400.0), kInf);
  EXPECT_EQ(det_pow(10.0, -400.0), 0.0);
  EXPECT_EQ(det_pow(10.0, 1e300), kInf);
  EXPECT_EQ(det_pow(kInf, -1.0), 0.0);
  EXPECT_EQ(det_pow(0.5, kInf), 0.0);
  EXPECT_TRUE(std::isnan(det_pow(-1.0, 2.0)));
  EXPECT_TRUE(std::isnan(det_pow(2.0, kNan)));
}

TEST(Math, SinAndCosAreWithinTwoUlp) {
  const auto sine = [](long double x) { return std::sin(x); };
  const auto cosine = [](long double x) { return std::cos(x); };
  for (const double limit : {0.8, 7.0, 1000.0, 131072.0, 0x1p30}) {
    EXPECT_LT(worst<double>("sin", -limit, limit, det_sin, sine), 2) << limit;
    EXPECT_LT(worst<double>("cos", -limit, limit, det_cos, cosine), 2) << limit;
  }
  EXPECT_EQ(det_sin(0.0), 0.0);
  EXPECT_EQ(det_cos(0.0), 1.0);
}

TEST(Math, SinAndCosAtIntegersAsPositionsAre) {
  double error = 0;
  for (int i = 0; i < 1000000; i += 7) {
    const long double x = i;
    error = std::max(error, error_ulp<double>(det_sin(i), std::sin(x)));
    error = std::max(error, error_ulp<double>(det_cos(i), std::cos(x)));
  }
  EXPECT_LT(error, 2);
}

TEST(Math, ExpfIsWithinTwoUlp) {
  const auto reference = [](long double x) { return std::exp(x); };
  EXPECT_LT(worst<float>("expf", -87.3, 88.7, det_expf, reference), 2);
  EXPECT_LT(worst<float>("expf small", -1, 1, det_expf, reference), 2);
  EXPECT_LT(worst<float>("expf top", 88.0, 88.7228, det_expf, reference), 2);
  EXPECT_EQ(det_expf(0.0f), 1.0f);
  EXPECT_EQ(det_expf(-0.0f), 1.0f);
  EXPECT_EQ(det_expf(0x1.62e42ep+6f),
            static_cast<float>(std::exp(static_cast<double>(0x1.62e42ep+6f))));
  EXPECT_EQ(det_expf(88.73f), kInfF);
  EXPECT_EQ(det_expf(kInfF), kInfF);
  EXPECT_EQ(det_expf(-87.34f), 0.0f);
  EXPECT_EQ(det_expf(-1e30f), 0.0f);
  EXPECT_EQ(det_expf(-kInfF), 0.0f);
  EXPECT_GE(det_expf(-87.3365f), std::numeric_limits<float>::min());
  EXPECT_TRUE(std::isnan(det_expf(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Math, TanhfIsWithinFourUlp) {
  const auto reference = [](long double x) { return std::tanh(x); };
  for (const double limit : {1e-30, 1e-6, 0.01, 0.3, 1.0, 12.0}) {
    EXPECT_LT(worst<float>("tanhf", -limit, limit, det_tanhf, reference), 4) << limit;
  }
  EXPECT_EQ(det_tanhf(20.0f), 1.0f);
  EXPECT_EQ(det_tanhf(-kInfF), -1.0f);
  EXPECT_TRUE(std::signbit(det_tanhf(-0.0f)));
  EXPECT_TRUE(std::isnan(det_tanhf(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Math, SigmoidfIsWithinFourUlp) {
  const auto reference = [](long double x) { return 1.0L / (1.0L + std::exp(-x)); };
  EXPECT_LT(worst<float>("sigmoid", -87, 40, det_sigmoidf, reference), 4);
  EXPECT_EQ(det_sigmoidf(0.0f), 0.5f);
  EXPECT_EQ(det_sigmoidf(-kInfF), 0.0f);
  EXPECT_EQ(det_sigmoidf(kInfF), 1.0f);
}

}  // namespace
}  // namespace geist::kernels
