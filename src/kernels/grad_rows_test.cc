// Each derivative against a central difference of the operation itself, written in double with the
// C library; every instruction set against the scalar one, byte for byte.
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/grad_kernels.h"
#include "kernels/kernel_test_support.h"

namespace geist::kernels {
namespace {

using Values = std::vector<double>;
using Scalar1 = std::function<double(const Values&)>;

std::vector<const GradKernels*> wide_tables() {
  std::vector<const GradKernels*> tables;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512})
    if (const GradKernels* k = grad_kernels_for(isa)) tables.push_back(k);
  return tables;
}
const GradKernels& scalar() { return *grad_kernels_for(Isa::kScalar); }

Values widen(const std::vector<float>& v) { return Values(v.begin(), v.end()); }

double slope(const Scalar1& f, Values x, size_t i) {
  const double step = 1e-5, at = x[i];
  x[i] = at + step;
  const double high = f(x);
  x[i] = at - step;
  return (high - f(x)) / (2 * step);
}

void expect_gradient(const Scalar1& f, const std::vector<float>& x, const std::vector<float>& dx) {
  const Values at = widen(x);
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = slope(f, at, i);
    EXPECT_NEAR(double{dx[i]}, expected, 2e-5 * (1 + std::abs(expected))) << i;
  }
}

constexpr int64_t kLength = 37;
constexpr float kEps = 1e-5f;

Scalar1 weighted_norm(bool center, const Values& weight, const Values& dy) {
  return [=](const Values& x) {
    double mean = 0, squares = 0, out = 0;
    const double n = static_cast<double>(x.size());
    if (center)
      for (const double v : x) mean += v / n;
    for (const double v : x) squares += (v - mean) * (v - mean) / n;
    for (size_t i = 0; i < x.size(); ++i)
      out += dy[i] * weight[i] * (x[i] - mean) / std::sqrt(squares + double{kEps});
    return out;
  };
}

TEST(GradRows, NormsAgainstDifferences) {
  const auto x = random_floats(kLength, "x"), w = random_floats(kLength, "w"),
             dy = random_floats(kLength, "dy");
  for (const bool center : {false, true}) {
    const auto kernel = center ? scalar().layer_norm_backward : scalar().rms_norm_backward;
    std::vector<float> dx(x.size(), 0.0f), dw(x.size(), 0.0f), db(x.size(), 0.0f);
    const NormStats stats = kernel(x.data(), w.data(), dy.data(), kEps, kLength, dx.data());
    expect_gradient(weighted_norm(center, widen(w), widen(dy)), x, dx);
    scalar().norm_weight_backward(x.data(), dy.data(), stats, kLength, dw.data(), db.data());
    const auto by_weight = [&](const Values& weight) {
      return weighted_norm(center, weight, widen(dy))(widen(x));
    };
    expect_gradient(by_weight, w, dw);
    EXPECT_TRUE(same_bytes(db, dy));
    std::vector<float> twice = dx;  // accumulates
    kernel(x.data(), w.data(), dy.data(), kEps, kLength, twice.data());
    for (size_t i = 0; i < dx.size(); ++i) EXPECT_EQ(twice[i], dx[i] + dx[i]);
  }
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(0.7978845608 * x * (1 + 0.044715 * x * x)));
}

TEST(GradRows, ActivationsAgainstDifferences) {
  const auto x = random_floats(kLength, "x", 4), up = random_floats(kLength, "up", 2),
             dy = random_floats(kLength, "dy");
  std::vector<float> dx(x.size()), dup(x.size());
  const auto check = [&](double (*f)(double), auto plain, auto gated) {
    const auto of_x = [&](bool with_up) {
      return [&, with_up, f](const Values& v) {
        double out = 0;
        for (size_t i = 0; i < v.size(); ++i)
          out += double{dy[i]} * f(v[i]) * (with_up ? double{up[i]} : 1.0);
        return out;
      };
    };
    plain(x.data(), dy.data(), kLength, dx.data());
    expect_gradient(of_x(false), x, dx);
    gated(x.data(), up.data(), dy.data(), kLength, dx.data(), dup.data());
    expect_gradient(of_x(true), x, dx);
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(dup[i], double{dy[i]} * f(double{x[i]}), 1e-5) << i;
  };
  check(silu, scalar().silu_backward, scalar().silu_mul_backward);
  check(gelu, scalar().gelu_backward, scalar().gelu_mul_backward);
}

TEST(GradRows, SoftmaxAgainstDifferences) {
  const auto x = random_floats(kLength, "x", 5), dp = random_floats(kLength, "dp");
  const float scale = 0.25f;
  const auto value = [&](const Values& v) {
    double total = 0, out = 0;
    for (const double s : v) total += std::exp(s * double{scale});
    for (size_t i = 0; i < v.size(); ++i)
      out += double{dp[i]} * std::exp(v[i] * double{scale}) / total;
    return out;
  };
  std::vector<float> p(x.size()), ds(x.size());
  for (size_t i = 0; i < x.size(); ++i) p[i] = x[i] * scale;
  float max = 0, dot = 0;
  const float total = scalar().exp_row(p.data(), kLength, p.data(), &max);
  EXPECT_EQ(max, *std::max_element(x.begin(), x.end()) * scale);
  for (size_t i = 0; i < x.size(); ++i) dot += (p[i] /= total) * dp[i];
  scalar().softmax_backward(p.data(), dp.data(), dot, scale, kLength, ds.data());
  expect_gradient(value, x, ds);
}

TEST(GradRows, AdamStepFollowsThePaper) {
  const auto g = random_floats(kLength, "g");
  std::vector<float> m = random_floats(kLength, "m"), v = random_floats(kLength, "v"),
                     w = random_floats(kLength, "w");
  for (float& x : v) x = std::abs(x);
  const std::vector<float> m0 = m, v0 = v, w0 = w;
  const AdamStep step{0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.7f, 2.5f, 0.5f};
  scalar().adam_step(step, g.data(), kLength, m.data(), v.data(), w.data());
  for (size_t i = 0; i < g.size(); ++i) {
    const double d = 0.5 * double{g[i]};
    const double m1 = 0.9 * double{m0[i]} + 0.1 * d, v1 = 0.95 * double{v0[i]} + 0.05 * d * d;
    EXPECT_NEAR(m[i], m1, 1e-6);
    EXPECT_NEAR(v[i], v1, 1e-6);
    const double decayed = double{w0[i]} * (1 - 0.01 * 0.1);
    EXPECT_NEAR(w[i], decayed - 0.01 * (1.7 * m1) / (std::sqrt(2.5 * v1) + 1e-8), 1e-6);
  }
}

// Everything a table computes for rows of n, in one vector.
std::vector<float> all_outputs(const GradKernels& k, int64_t n) {
  const auto x = random_floats(n, "x", 6), w = random_floats(n, "w"), dy = random_floats(n, "dy");
  std::vector<float> out;
  const auto add = [&](std::initializer_list<const std::vector<float>*> parts) {
    for (const auto* part : parts) out.insert(out.end(), part->begin(), part->end());
  };
  for (const auto kernel : {k.rms_norm_backward, k.layer_norm_backward}) {
    for (const float* weight : {w.data(), static_cast<const float*>(nullptr)}) {
      std::vector<float> dx = w, dw = dy, db = x;
      const NormStats s = kernel(x.data(), weight, dy.data(), kEps, n, dx.data());
      k.norm_weight_backward(x.data(), dy.data(), s, n, dw.data(), db.data());
      add({&dx, &dw, &db});
      out.insert(out.end(), {s.mean, s.r});
    }
  }
  std::vector<float> a(x.size()), b(x.size());
  for (const auto kernel : {k.silu_mul_backward, k.gelu_mul_backward}) {
    kernel(x.data(), w.data(), dy.data(), n, a.data(), b.data());
    add({&a, &b});
  }
  for (const auto kernel : {k.silu_backward, k.gelu_backward}) {
    kernel(x.data(), dy.data(), n, a.data());
    add({&a});
  }
  float max = 0;
  out.push_back(k.exp_row(x.data(), n, a.data(), &max));
  out.push_back(max);
  k.softmax_backward(a.data(), dy.data(), 0.3f, 0.7f, n, b.data());
  add({&a, &b});
  std::vector<float> m = w, v = a, weight = x;
  k.adam_step({0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.7f, 2.5f, 0.5f}, dy.data(), n, m.data(), v.data(),
              weight.data());
  add({&m, &v, &weight});
  return out;
}

TEST(GradRows, InstructionSetsAgreeToTheBit) {
  for (const int64_t n : kOddSizes) {
    const std::vector<float> expected = all_outputs(scalar(), n);
    for (const GradKernels* k : wide_tables())
      EXPECT_TRUE(same_bytes(all_outputs(*k, n), expected)) << n;
  }
}

}  // namespace
}  // namespace geist::kernels
