// Every row kernel of every instruction set against the scalar one, by bytes, at odd sizes; and the
// scalar one against the formula in double.
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "kernels/kernel_test_support.h"
#include "kernels/math.h"

namespace geist::kernels {
namespace {

using Floats = std::vector<float>;

struct RowCase {
  std::string name;
  // out has n elements; a and b are inputs of n elements.
  std::function<void(const Kernels&, const float* a, const float* b, int64_t n, float* out)> run;
};

const std::vector<RowCase>& row_cases() {
  using K = const Kernels&;
  using P = const float*;
  static const std::vector<RowCase> cases = {
      {"rms_norm", [](K k, P a, P b, int64_t n, float* o) { k.rms_norm(a, b, 1e-5f, n, o); }},
      {"rms_norm plain",
       [](K k, P a, P, int64_t n, float* o) { k.rms_norm(a, nullptr, 1e-6f, n, o); }},
      {"layer_norm",
       [](K k, P a, P b, int64_t n, float* o) { k.layer_norm(a, b, b, 1e-5f, n, o); }},
      {"layer_norm plain",
       [](K k, P a, P, int64_t n, float* o) { k.layer_norm(a, nullptr, nullptr, 1e-5f, n, o); }},
      {"softmax", [](K k, P a, P, int64_t n, float* o) { k.softmax(a, n, o); }},
      {"add", [](K k, P a, P b, int64_t n, float* o) { k.add(a, b, n, o); }},
      {"mul", [](K k, P a, P b, int64_t n, float* o) { k.mul(a, b, n, o); }},
      {"scale", [](K k, P a, P, int64_t n, float* o) { k.scale(a, 0.37f, n, o); }},
      {"add_scaled", [](K k, P a, P b, int64_t n, float* o) { k.add_scaled(a, b, 0.37f, n, o); }},
      {"clamp", [](K k, P a, P, int64_t n, float* o) { k.clamp(a, -1.5f, 2.0f, n, o); }},
      {"softcap", [](K k, P a, P, int64_t n, float* o) { k.softcap(a, 30.0f, n, o); }},
      {"silu", [](K k, P a, P, int64_t n, float* o) { k.silu(a, n, o); }},
      {"gelu", [](K k, P a, P, int64_t n, float* o) { k.gelu(a, n, o); }},
      {"silu_mul", [](K k, P a, P b, int64_t n, float* o) { k.silu_mul(a, b, n, o); }},
      {"gelu_mul", [](K k, P a, P b, int64_t n, float* o) { k.gelu_mul(a, b, n, o); }},
      {"swiglu_oai",
       [](K k, P a, P b, int64_t n, float* o) { k.swiglu_oai(a, b, 1.702f, 7.0f, n, o); }},
      {"sigmoid", [](K k, P a, P, int64_t n, float* o) { k.sigmoid(a, n, o); }},
      {"exp", [](K k, P a, P, int64_t n, float* o) { k.exp(a, n, o); }},
      {"dot", [](K k, P a, P b, int64_t n, float* o) { o[0] = k.dot(a, b, n); }},
  };
  return cases;
}

const Kernels& scalar() { return *kernels_for(Isa::kScalar); }

TEST(RowIdentity, EveryIsaGivesTheScalarBytes) {
  for (const RowCase& c : row_cases()) {
    for (const int64_t n : kOddSizes) {
      for (const float limit : {1e-3f, 3.0f, 60.0f}) {
        // One element more in front, so that nothing is aligned; one guard behind.
        const Floats a = random_floats(n + 1, c.name, limit), b = random_floats(n + 1, "b", limit);
        Floats want(static_cast<size_t>(n) + 1, 42.0f);
        c.run(scalar(), a.data() + 1, b.data() + 1, n, want.data());
        EXPECT_EQ(want.back(), 42.0f) << c.name << " writes past the end";
        for (const Kernels* k : other_kernels()) {
          Floats got(static_cast<size_t>(n) + 1, 42.0f);
          c.run(*k, a.data() + 1, b.data() + 1, n, got.data());
          EXPECT_TRUE(same_bytes(got, want)) << c.name << " " << k->name << " n=" << n;
        }
      }
    }
  }
}

TEST(RowIdentity, OutputMayBeTheInput) {
  for (const RowCase& c : row_cases()) {
    for (const int64_t n : {7, 33, 100}) {
      const Floats a = random_floats(n, c.name, 3.0f), b = random_floats(n, "b", 3.0f);
      for (const Kernels* k : all_kernels()) {
        Floats want(a), got(a);
        c.run(*k, a.data(), b.data(), n, want.data());
        c.run(*k, got.data(), b.data(), n, got.data());
        EXPECT_TRUE(same_bytes(got, want)) << c.name << " " << k->name << " n=" << n;
      }
    }
  }
}

// Special values at every place of a vector and its tail. NaN is compared as NaN: which of two NaNs
// survives an operation is not defined by IEEE-754.
TEST(RowIdentity, SpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f,    -0.0f,    inf,      -inf,    std::nanf(""), 1e-45f,
                           -1e-40f, 88.7228f, 88.7229f, -87.33f, -87.3366f,     -87.34f,
                           1.7e38f, -3.4e38f, 9.0f,     -10.1f,  0x1p-126f,     30.0f};
  for (const RowCase& c : row_cases()) {
    if (c.name == "softmax" || c.name == "dot" || c.name.find("norm") != std::string::npos)
      continue;
    for (const float x : special) {
      const Floats a(21, x), b(21, 0.5f);
      Floats want(21);
      c.run(scalar(), a.data(), b.data(), 21, want.data());
      for (const Kernels* k : other_kernels()) {
        Floats got(21);
        c.run(*k, a.data(), b.data(), 21, got.data());
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_TRUE(std::isnan(want[i]) ? std::isnan(got[i])
                                          : std::memcmp(&got[i], &want[i], 4) == 0)
              << c.name << " " << k->name << " of " << x << ": " << got[i] << " and " << want[i];
        }
      }
    }
  }
}

TEST(RowIdentity, LanesAgreeWithTheSingleFloatFunctions) {
  const Floats x = random_floats(1000, "single", 20.0f);
  for (const Kernels* k : all_kernels()) {
    Floats exponential(1000), sigmoid(1000), capped(1000);
    k->exp(x.data(), 1000, exponential.data());
    k->sigmoid(x.data(), 1000, sigmoid.data());
    k->softcap(x.data(), 1.0f, 1000, capped.data());
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(exponential[i], det_expf(x[i]));
      ASSERT_EQ(sigmoid[i], det_sigmoidf(x[i]));
      ASSERT_EQ(capped[i], det_tanhf(x[i]));
    }
  }
}

TEST(RowIdentity, Rope) {
  for (const RopePairing pairing : {RopePairing::kAdjacent, RopePairing::kHalves}) {
    for (const int64_t pairs : {1, 3, 7, 8, 9, 15, 16, 17, 32, 40, 64}) {
      const int64_t heads = 3, head_dim = 2 * pairs + 5;  // the last five stay as they are
      const Floats x = random_floats(heads * head_dim, "x"), angle = random_floats(pairs, "angle");
      Floats cosine, sine;
      for (const float a : angle) {
        cosine.push_back(std::cos(a));
        sine.push_back(std::sin(a));
      }
      Floats want = x;
      scalar().rope(want.data(), heads, head_dim, cosine.data(), sine.data(), pairs, pairing);
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < pairs; ++i) {
          const bool adjacent = pairing == RopePairing::kAdjacent;
          const size_t at = static_cast<size_t>(h * head_dim + (adjacent ? 2 * i : i));
          const size_t other = at + static_cast<size_t>(adjacent ? 1 : pairs),
                       j = static_cast<size_t>(i);
          EXPECT_EQ(want[at], std::fma(x[at], cosine[j], -(x[other] * sine[j])));
          EXPECT_EQ(want[other], std::fma(x[at], sine[j], x[other] * cosine[j]));
        }
        for (int64_t i = 2 * pairs; i < head_dim; ++i) {
          EXPECT_EQ(want[static_cast<size_t>(h * head_dim + i)],
                    x[static_cast<size_t>(h * head_dim + i)]);
        }
      }
      for (const Kernels* k : other_kernels()) {
        Floats got = x;
        k->rope(got.data(), heads, head_dim, cosine.data(), sine.data(), pairs, pairing);
        EXPECT_TRUE(same_bytes(got, want)) << k->name << " pairs=" << pairs;
      }
    }
  }
}

// ---- the scalar reference against the formulas in double

double relative(double got, double want) {
  return std::fabs(got - want) / (std::fabs(want) + 1e-3);
}

TEST(RowReference, NormsAndSoftmax) {
  const int64_t n = 100;
  const Floats x = random_floats(n, "x", 4.0f), w = random_floats(n, "w"),
               bias = random_floats(n, "b");
  Floats rms(100), layer(100), soft(100);
  scalar().rms_norm(x.data(), w.data(), 1e-5f, n, rms.data());
  scalar().layer_norm(x.data(), w.data(), bias.data(), 1e-5f, n, layer.data());
  scalar().softmax(x.data(), n, soft.data());
  double squares = 0, sum = 0, variance = 0, total = 0;
  for (const float v : x) squares += double{v} * v, sum += v, total += std::exp(double{v});
  for (const float v : x) variance += (v - sum / n) * (v - sum / n);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_LT(relative(rms[i], x[i] / std::sqrt(squares / n + 1e-5) * w[i]), 1e-5);
    EXPECT_LT(
        relative(layer[i], (x[i] - sum / n) / std::sqrt(variance / n + 1e-5) * w[i] + bias[i]),
        1e-5);
    EXPECT_LT(relative(soft[i], std::exp(double{x[i]}) / total), 1e-5);
  }
}

TEST(RowReference, Activations) {
  for (float x = -12.0f; x < 12.0f; x += 0.01f) {
    const double v = x, u = 0.7;
    const float up = 0.7f;
    const double sigmoid = 1 / (1 + std::exp(-v));
    const double gelu = 0.5 * v * (1 + std::tanh(0.7978845608 * v * (1 + 0.044715 * v * v)));
    float out = 0;
    scalar().silu(&x, 1, &out);
    EXPECT_LT(relative(out, v * sigmoid), 1e-6);
    scalar().gelu(&x, 1, &out);
    EXPECT_NEAR(out, gelu, 2e-6);
    scalar().silu_mul(&x, &up, 1, &out);
    EXPECT_LT(relative(out, v * sigmoid * u), 1e-6);
    scalar().gelu_mul(&x, &up, 1, &out);
    EXPECT_NEAR(out, gelu * u, 2e-6);
    scalar().softcap(&x, 5.0f, 1, &out);
    EXPECT_LT(relative(out, 5 * std::tanh(v / 5)), 1e-6);
    scalar().swiglu_oai(&x, &up, 1.702f, 7.0f, 1, &out);
    const double g = std::min(v, 7.0);
    EXPECT_LT(relative(out, g / (1 + std::exp(-1.702 * g)) * (u + 1)), 1e-6);
    scalar().clamp(&x, -2.0f, 3.0f, 1, &out);
    EXPECT_EQ(out, x < -2.0f ? -2.0f : (x > 3.0f ? 3.0f : x));
  }
}

// The order that docs/numerics.md states, by hand.
TEST(RowReference, DotIsSixteenLanesAndATree) {
  for (const int64_t n : kOddSizes) {
    const Floats a = random_floats(n, "a"), b = random_floats(n, "b");
    float lane[16] = {};
    for (size_t i = 0; i < a.size(); ++i) lane[i % 16] = std::fma(a[i], b[i], lane[i % 16]);
    for (int width = 8; width >= 1; width /= 2) {
      for (int j = 0; j < width; ++j) lane[j] = lane[j] + lane[j + width];
    }
    EXPECT_EQ(scalar().dot(a.data(), b.data(), n), lane[0]);
  }
}

}  // namespace
}  // namespace geist::kernels
