// The derivatives of the row operations of rows_inl.h, and the optimiser's step, over the lanes of
// S. Included only by grad_rows_scalar.cc, grad_rows_avx2.cc and grad_rows_avx512.cc. Sums over a
// row take 16 lanes and tree16, as those of the forward pass do; orders: docs/training-numerics.md.
#pragma once

#include "kernels/grad_kernels.h"
#include "kernels/simd_math.h"

namespace geist::kernels {

template <class S>
struct GradRows {
  using F = typename S::F;

  // Calls f(i, left) for i = 0, 16, ...: left is 16, or less at the end of the row.
  template <class Body>
  static GEIST_INLINE void each(int64_t n, Body body) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) body(i, int64_t{16});
    if (i < n) body(i, n - i);
  }
  static GEIST_INLINE F load(const float* p, int64_t left) {
    return left == 16 ? S::load(p) : S::load_n(p, left);
  }
  static GEIST_INLINE void store(float* p, F v, int64_t left) {
    left == 16 ? S::store(p, v) : S::store_n(p, v, left);
  }
  static GEIST_INLINE F weighted(const float* dy, const float* weight, int64_t i, int64_t left) {
    const F g = load(dy + i, left);
    return weight == nullptr ? g : S::mul(g, load(weight + i, left));
  }

  // With g = dy * weight: dx = dx + fma(g, r, -(x * c)), c = ((sum of g x) * r * r * r) / n.
  static NormStats rms_norm_backward(const float* x, const float* weight, const float* dy,
                                     float eps, int64_t n, float* dx) {
    const float count = static_cast<float>(n);
    F squares = S::zero(), products = S::zero();
    each(n, [&](int64_t i, int64_t left) {
      const F v = load(x + i, left);
      squares = S::fma(v, v, squares);
      products = S::fma(weighted(dy, weight, i, left), v, products);
    });
    const float r = 1.0f / __builtin_sqrtf(S::sum(squares) / count + eps);
    const F scale = S::set1(r), c = S::set1(S::sum(products) * r * r * r / count);
    each(n, [&](int64_t i, int64_t left) {
      const F g = weighted(dy, weight, i, left);
      const F d = S::fma(g, scale, S::neg(S::mul(load(x + i, left), c)));
      store(dx + i, S::add(load(dx + i, left), d), left);
    });
    return {0.0f, r};
  }

  // With g = dy * weight and h = (x - mean) * r: dx = dx + ((g - a) - h * b) * r, a = (sum of g) /
  // n, b = (sum of g h) / n.
  static NormStats layer_norm_backward(const float* x, const float* weight, const float* dy,
                                       float eps, int64_t n, float* dx) {
    const float count = static_cast<float>(n);
    F total = S::zero(), gradients = S::zero(), squares = S::zero(), products = S::zero();
    each(n, [&](int64_t i, int64_t left) {
      total = S::add(total, load(x + i, left));
      gradients = S::add(gradients, weighted(dy, weight, i, left));
    });
    const float mean = S::sum(total) / count;
    const F center = S::set1(mean);
    each(n, [&](int64_t i, int64_t left) {
      const auto here = S::range(0, static_cast<int32_t>(left));
      const F d = S::select(here, S::sub(load(x + i, left), center), S::zero());
      squares = S::fma(d, d, squares);
      products = S::fma(weighted(dy, weight, i, left), d, products);
    });
    const float r = 1.0f / __builtin_sqrtf(S::sum(squares) / count + eps);
    const F scale = S::set1(r), a = S::set1(S::sum(gradients) / count);
    const F b = S::set1(S::sum(products) * r / count);
    each(n, [&](int64_t i, int64_t left) {
      const F h = S::mul(S::sub(load(x + i, left), center), scale);
      const F d = S::sub(S::sub(weighted(dy, weight, i, left), a), S::mul(h, b));
      store(dx + i, S::add(load(dx + i, left), S::mul(d, scale)), left);
    });
    return {mean, r};
  }

  static void norm_weight_backward(const float* x, const float* dy, NormStats stats, int64_t n,
                                   float* dweight, float* dbias) {
    const F mean = S::set1(stats.mean), r = S::set1(stats.r);
    each(n, [&](int64_t i, int64_t left) {
      const F g = load(dy + i, left);
      const F h = S::mul(S::sub(load(x + i, left), mean), r);
      store(dweight + i, S::fma(g, h, load(dweight + i, left)), left);
      if (dbias != nullptr) store(dbias + i, S::add(load(dbias + i, left), g), left);
    });
  }

  // s = sigmoid(x): silu'(x) = s * fma(x, 1 - s, 1).
  static GEIST_INLINE F silu_slope(F x, F s) {
    const F one = S::set1(1.0f);
    return S::mul(s, S::fma(x, S::sub(one, s), one));
  }
  // t = tanh(u(x)): gelu'(x) = 0.5 (1 + t) + (0.5 x (1 - t t)) u'(x).
  static GEIST_INLINE void gelu_parts(F x, F* value, F* slope) {
    const F one = S::set1(1.0f), half = S::set1(0.5f), root = S::set1(0.7978845608f);
    const F square = S::mul(S::mul(S::set1(0.044715f), x), x);
    const F t = simd_tanh<S>(S::mul(S::mul(root, x), S::add(one, square)));
    const F rise = S::mul(root, S::fma(S::set1(3.0f), square, one));
    const F flat = S::sub(one, S::mul(t, t));
    *value = S::mul(S::mul(half, x), S::add(one, t));
    *slope = S::fma(S::mul(S::mul(half, x), flat), rise, S::mul(half, S::add(one, t)));
  }

  static void silu_mul_backward(const float* gate, const float* up, const float* dy, int64_t n,
                                float* dgate, float* dup) {
    each(n, [&](int64_t i, int64_t left) {
      const F g = load(gate + i, left), u = load(up + i, left), d = load(dy + i, left);
      const F s = simd_sigmoid<S>(g);
      store(dgate + i, S::mul(S::mul(d, u), silu_slope(g, s)), left);
      store(dup + i, S::mul(d, S::mul(g, s)), left);
    });
  }
  static void gelu_mul_backward(const float* gate, const float* up, const float* dy, int64_t n,
                                float* dgate, float* dup) {
    each(n, [&](int64_t i, int64_t left) {
      const F u = load(up + i, left), d = load(dy + i, left);
      F value, slope;
      gelu_parts(load(gate + i, left), &value, &slope);
      store(dgate + i, S::mul(S::mul(d, u), slope), left);
      store(dup + i, S::mul(d, value), left);
    });
  }
  static void silu_backward(const float* x, const float* dy, int64_t n, float* dx) {
    each(n, [&](int64_t i, int64_t left) {
      const F v = load(x + i, left);
      store(dx + i, S::mul(load(dy + i, left), silu_slope(v, simd_sigmoid<S>(v))), left);
    });
  }
  static void gelu_backward(const float* x, const float* dy, int64_t n, float* dx) {
    each(n, [&](int64_t i, int64_t left) {
      F value, slope;
      gelu_parts(load(x + i, left), &value, &slope);
      store(dx + i, S::mul(load(dy + i, left), slope), left);
    });
  }

  static float exp_row(const float* x, int64_t n, float* out, float* max) {
    const F lowest = S::set1(-__builtin_inff());
    F top = lowest, total = S::zero();
    each(n, [&](int64_t i, int64_t left) {
      const auto here = S::range(0, static_cast<int32_t>(left));
      top = S::max(top, S::select(here, load(x + i, left), lowest));
    });
    *max = S::max_lane(top);
    const F highest = S::set1(*max);
    each(n, [&](int64_t i, int64_t left) {
      const auto here = S::range(0, static_cast<int32_t>(left));
      const F e = S::select(here, simd_exp<S>(S::sub(load(x + i, left), highest)), S::zero());
      store(out + i, e, left);
      total = S::add(total, e);
    });
    return S::sum(total);
  }

  static void softmax_backward(const float* p, const float* dp, float dot, float scale, int64_t n,
                               float* out) {
    const F d = S::set1(dot), factor = S::set1(scale);
    each(n, [&](int64_t i, int64_t left) {
      const F v = S::mul(load(p + i, left), S::sub(load(dp + i, left), d));
      store(out + i, S::mul(v, factor), left);
    });
  }

  // g = g * gradient_scale; m = fma(beta1, m, (1 - beta1) * g); v = fma(beta2, v, ((1 - beta2) * g)
  // * g); w = w - lr * decay * w (rounded once as a factor); w = w - (lr * m^) / (sqrt(v^) + eps).
  static void adam_step(const AdamStep& step, const float* g, int64_t n, float* m, float* v,
                        float* w) {
    const F scale = S::set1(step.gradient_scale), beta1 = S::set1(step.beta1);
    const F beta2 = S::set1(step.beta2), eps = S::set1(step.eps);
    const F rest1 = S::set1(1.0f - step.beta1), rest2 = S::set1(1.0f - step.beta2);
    const F rate = S::set1(step.learning_rate * step.correction1);
    const F correction2 = S::set1(step.correction2);
    const F shrink = S::set1(1.0f - step.learning_rate * step.weight_decay);
    each(n, [&](int64_t i, int64_t left) {
      const F d = S::mul(load(g + i, left), scale);
      const F first = S::fma(beta1, load(m + i, left), S::mul(rest1, d));
      const F second = S::fma(beta2, load(v + i, left), S::mul(S::mul(rest2, d), d));
      const F root = S::sqrt(S::mul(second, correction2));
      const F move = S::div(S::mul(rate, first), S::add(root, eps));
      store(m + i, first, left);
      store(v + i, second, left);
      store(w + i, S::sub(S::mul(load(w + i, left), shrink), move), left);
    });
  }
};

template <class S>
void fill_grad_rows(GradKernels& k) {
  using R = GradRows<S>;
  k.rms_norm_backward = R::rms_norm_backward;
  k.layer_norm_backward = R::layer_norm_backward;
  k.norm_weight_backward = R::norm_weight_backward;
  k.silu_mul_backward = R::silu_mul_backward;
  k.gelu_mul_backward = R::gelu_mul_backward;
  k.silu_backward = R::silu_backward;
  k.gelu_backward = R::gelu_backward;
  k.exp_row = R::exp_row;
  k.softmax_backward = R::softmax_backward;
  k.adam_step = R::adam_step;
}

}  // namespace geist::kernels
