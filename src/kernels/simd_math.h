// exp, tanh, sigmoid and the activations built of them, on the lanes of S (simd_scalar.h). Steps,
// constants and error bounds are stated in docs/numerics.md so that they can be written again in
// any language; math.h has them on one float.
#pragma once

#include "kernels/simd_scalar.h"

namespace geist::kernels {

// x = n ln 2 + r with |r| <= ln 2 / 2: what exp and tanh share.
template <class S>
struct ReducedExp {
  typename S::I n_shifted;  // n << 23: adds n to an exponent
  typename S::F r;
  typename S::F p;  // exp(r) = 1 + r + r * r * p
};

template <class S>
GEIST_INLINE ReducedExp<S> reduce_exp(typename S::F x) {
  // Adding 1.5 * 2^23 rounds to an integer, which then lies in the low bits of the sum.
  const auto magic = S::set1(0x1.8p23f);
  const auto rounded = S::fma(x, S::set1(0x1.715476p+0f), magic);  // log2(e)
  const auto n = S::sub(rounded, magic);
  auto r = S::fma(n, S::set1(-0x1.62e430p-1f), x);  // ln 2, rounded to f32,
  r = S::fma(n, S::set1(0x1.05c610p-29f), r);       // and what that left
  auto p = S::set1(0x1.6d10fcp-10f);
  p = S::fma(p, r, S::set1(0x1.120b62p-7f));
  p = S::fma(p, r, S::set1(0x1.55551ap-5f));
  p = S::fma(p, r, S::set1(0x1.5554dep-3f));
  p = S::fma(p, r, S::set1(0.5f));
  return {S::template shift_left<23>(S::bits(rounded)), r, p};
}

// exp(x) where no x is so large that it overflows: in a softmax none is above 0.
template <class S>
GEIST_INLINE typename S::F simd_exp_below_1(typename S::F x) {
  const ReducedExp<S> e = reduce_exp<S>(x);
  auto y = S::fma(e.p, e.r, S::set1(1.0f));
  y = S::fma(y, e.r, S::set1(1.0f));
  y = S::from_bits(S::add_int(S::bits(y), e.n_shifted));
  y = S::select(S::less(x, S::set1(-0x1.5d589ep+6f)), S::set1(0.0f), y);
  return S::select(S::is_nan(x), x, y);
}

template <class S>
GEIST_INLINE typename S::F simd_exp(typename S::F x) {
  const auto y = simd_exp_below_1<S>(x);
  return S::select(S::less(S::set1(0x1.62e42ep+6f), x), S::set1(__builtin_inff()), y);
}

// tanh(x) = E / (E + 2) with E = exp(2|x|) - 1, which keeps its relative accuracy near 0.
template <class S>
GEIST_INLINE typename S::F simd_tanh(typename S::F x) {
  const auto limit = S::set1(10.0f);  // tanh is 1 in f32 from 9.02 on
  const auto a = S::min(limit, S::abs(x));
  const ReducedExp<S> e = reduce_exp<S>(S::add(a, a));
  const auto one = S::set1(1.0f);
  const auto power = S::from_bits(S::add_int(S::bits(one), e.n_shifted));  // 2^n
  const auto small = S::fma(S::mul(e.r, e.r), e.p, e.r);                   // exp(r) - 1
  const auto big = S::fma(small, power, S::sub(power, one));
  const auto t = S::div(big, S::add(big, S::set1(2.0f)));
  return S::select(S::is_nan(x), x, S::copy_sign(t, x));
}

template <class S>
GEIST_INLINE typename S::F simd_sigmoid(typename S::F x) {
  const auto one = S::set1(1.0f);
  return S::div(one, S::add(one, simd_exp<S>(S::neg(x))));
}

template <class S>
GEIST_INLINE typename S::F simd_silu(typename S::F x) {
  return S::mul(x, simd_sigmoid<S>(x));
}

template <class S>
GEIST_INLINE typename S::F simd_gelu(typename S::F x) {
  const auto one = S::set1(1.0f);
  const auto cubic = S::add(one, S::mul(S::mul(S::set1(0.044715f), x), x));
  const auto t = simd_tanh<S>(S::mul(S::mul(S::set1(0.7978845608f), x), cubic));
  return S::mul(S::mul(S::set1(0.5f), x), S::add(one, t));
}

template <class S>
GEIST_INLINE typename S::F simd_softcap(typename S::F x, typename S::F cap) {
  return S::mul(cap, simd_tanh<S>(S::div(x, cap)));
}

}  // namespace geist::kernels
