// Operations on one row, over the lanes of S: norms, softmax, element by element, RoPE. Included
// only by rows_*.cc and scalar_fma.cc. Orders: docs/numerics.md.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd_math.h"

namespace geist::kernels {

template <class S>
struct Rows {
  using F = typename S::F;

  // out[i] = op(x[i]) and out[i] = op(a[i], b[i]), 16 at a time.
  template <class Op>
  static GEIST_INLINE void map(const float* x, int64_t n, float* out, Op op) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) S::store(out + i, op(S::load(x + i)));
    if (i < n) S::store_n(out + i, op(S::load_n(x + i, n - i)), n - i);
  }
  template <class Op>
  static GEIST_INLINE void map2(const float* a, const float* b, int64_t n, float* out, Op op) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) S::store(out + i, op(S::load(a + i), S::load(b + i)));
    if (i < n) S::store_n(out + i, op(S::load_n(a + i, n - i), S::load_n(b + i, n - i)), n - i);
  }
  // Lane j takes i = j (mod 16) in ascending order, as if the row were padded with zeros.
  template <class Op>
  static GEIST_INLINE float reduce(const float* x, int64_t n, Op op) {
    F lanes = S::zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = op(lanes, S::load(x + i));
    if (i < n) lanes = op(lanes, S::load_n(x + i, n - i));
    return S::sum(lanes);
  }
  static GEIST_INLINE float sum_of_squares(const float* x, int64_t n) {
    return reduce(x, n, [](F lanes, F v) { return S::fma(v, v, lanes); });
  }

  static void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
    const float mean = sum_of_squares(x, n) / static_cast<float>(n);
    const F r = S::set1(1.0f / __builtin_sqrtf(mean + eps));
    if (weight == nullptr) {
      map(x, n, out, [r](F v) { return S::mul(v, r); });
    } else {
      map2(x, weight, n, out, [r](F v, F w) { return S::mul(S::mul(v, r), w); });
    }
  }

  static void layer_norm(const float* x, const float* weight, const float* bias, float eps,
                         int64_t n, float* out) {
    const float count = static_cast<float>(n);
    const F mean = S::set1(reduce(x, n, [](F lanes, F v) { return S::add(lanes, v); }) / count);
    map(x, n, out, [mean](F v) { return S::sub(v, mean); });
    const float variance = sum_of_squares(out, n) / count;
    const F r = S::set1(1.0f / __builtin_sqrtf(variance + eps));
    map(out, n, out, [r](F d) { return S::mul(d, r); });
    if (weight != nullptr) mul(out, weight, n, out);
    if (bias != nullptr) add(out, bias, n, out);
  }

  static void softmax(const float* x, int64_t n, float* out) {
    const F lowest = S::set1(-__builtin_inff());
    F top = lowest;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) top = S::max(top, S::load(x + i));
    if (i < n) {
      const auto tail = S::range(0, static_cast<int32_t>(n - i));
      top = S::max(top, S::select(tail, S::load_n(x + i, n - i), lowest));
    }
    const F highest = S::set1(S::max_lane(top));
    map(x, n, out, [highest](F v) { return simd_exp<S>(S::sub(v, highest)); });
    const float total = reduce(out, n, [](F lanes, F v) { return S::add(lanes, v); });
    scale(out, 1.0f / total, n, out);
  }

  static void add(const float* a, const float* b, int64_t n, float* out) {
    map2(a, b, n, out, [](F u, F v) { return S::add(u, v); });
  }
  static void mul(const float* a, const float* b, int64_t n, float* out) {
    map2(a, b, n, out, [](F u, F v) { return S::mul(u, v); });
  }
  static void scale(const float* x, float factor, int64_t n, float* out) {
    const F f = S::set1(factor);
    map(x, n, out, [f](F v) { return S::mul(v, f); });
  }
  static void add_scaled(const float* a, const float* b, float factor, int64_t n, float* out) {
    const F f = S::set1(factor);
    map2(a, b, n, out, [f](F u, F v) { return S::fma(v, f, u); });
  }
  static void clamp(const float* x, float low, float high, int64_t n, float* out) {
    const F lo = S::set1(low), hi = S::set1(high);
    map(x, n, out, [lo, hi](F v) { return S::min(hi, S::max(lo, v)); });  // a NaN stays
  }
  static void softcap(const float* x, float cap, int64_t n, float* out) {
    const F c = S::set1(cap);
    map(x, n, out, [c](F v) { return simd_softcap<S>(v, c); });
  }
  static void silu(const float* x, int64_t n, float* out) {
    map(x, n, out, [](F v) { return simd_silu<S>(v); });
  }
  static void gelu(const float* x, int64_t n, float* out) {
    map(x, n, out, [](F v) { return simd_gelu<S>(v); });
  }
  static void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
    map2(gate, up, n, out, [](F g, F u) { return S::mul(simd_silu<S>(g), u); });
  }
  static void gelu_mul(const float* gate, const float* up, int64_t n, float* out) {
    map2(gate, up, n, out, [](F g, F u) { return S::mul(simd_gelu<S>(g), u); });
  }
  static void swiglu_oai(const float* gate, const float* up, float alpha, float limit, int64_t n,
                         float* out) {
    const F a = S::set1(alpha), hi = S::set1(limit), lo = S::set1(-limit), one = S::set1(1.0f);
    map2(gate, up, n, out, [=](F gate_in, F up_in) {
      const F g = S::min(hi, gate_in);
      const F u = S::min(hi, S::max(lo, up_in));
      return S::mul(S::mul(g, simd_sigmoid<S>(S::mul(a, g))), S::add(u, one));
    });
  }
  static void sigmoid(const float* x, int64_t n, float* out) {
    map(x, n, out, [](F v) { return simd_sigmoid<S>(v); });
  }
  static void exp(const float* x, int64_t n, float* out) {
    map(x, n, out, [](F v) { return simd_exp<S>(v); });
  }

  // (a, b) -> (a cos - b sin, a sin + b cos), each with one product rounded and one fused.
  static GEIST_INLINE void rotate(F& a, F& b, F c, F s) {
    const F first = S::fma(a, c, S::neg(S::mul(b, s)));
    b = S::fma(a, s, S::mul(b, c));
    a = first;
  }
  static void rope_halves(float* x, const float* cos, const float* sin, int64_t pairs) {
    for (int64_t i = 0; i < pairs; i += 16) {
      const int64_t n = pairs - i < 16 ? pairs - i : 16;
      F a = S::load_n(x + i, n), b = S::load_n(x + pairs + i, n);
      rotate(a, b, S::load_n(cos + i, n), S::load_n(sin + i, n));
      S::store_n(x + i, a, n);
      S::store_n(x + pairs + i, b, n);
    }
  }
  static void rope_adjacent(float* x, const float* cos, const float* sin, int64_t pairs) {
    for (int64_t i = 0; i < pairs; i += 16) {
      const int64_t n = pairs - i < 16 ? pairs - i : 16;
      const int64_t low = n < 8 ? 2 * n : 16, high = 2 * n - low;
      F u = S::load_n(x + 2 * i, low), v = S::load_n(x + 2 * i + low, high), a, b;
      S::deinterleave(u, v, a, b);
      rotate(a, b, S::load_n(cos + i, n), S::load_n(sin + i, n));
      S::interleave(a, b, u, v);
      S::store_n(x + 2 * i, u, low);
      S::store_n(x + 2 * i + low, v, high);
    }
  }
  static void rope(float* x, int64_t heads, int64_t head_dim, const float* cos, const float* sin,
                   int64_t pairs, RopePairing pairing) {
    for (int64_t h = 0; h < heads; ++h) {
      if (pairing == RopePairing::kHalves) {
        rope_halves(x + h * head_dim, cos, sin, pairs);
      } else {
        rope_adjacent(x + h * head_dim, cos, sin, pairs);
      }
    }
  }

  static float dot(const float* a, const float* b, int64_t n) {
    F lanes = S::zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) lanes = S::fma(S::load(a + i), S::load(b + i), lanes);
    if (i < n) lanes = S::fma(S::load_n(a + i, n - i), S::load_n(b + i, n - i), lanes);
    return S::sum(lanes);
  }
};

template <class S>
void fill_row_kernels(Kernels& k) {
  using R = Rows<S>;
  k.rms_norm = R::rms_norm;
  k.layer_norm = R::layer_norm;
  k.softmax = R::softmax;
  k.add = R::add;
  k.mul = R::mul;
  k.scale = R::scale;
  k.add_scaled = R::add_scaled;
  k.clamp = R::clamp;
  k.softcap = R::softcap;
  k.silu = R::silu;
  k.gelu = R::gelu;
  k.silu_mul = R::silu_mul;
  k.gelu_mul = R::gelu_mul;
  k.swiglu_oai = R::swiglu_oai;
  k.sigmoid = R::sigmoid;
  k.exp = R::exp;
  k.rope = R::rope;
  k.dot = R::dot;
}

}  // namespace geist::kernels
