// The lanes of simd_scalar.h in four NEON registers of AArch64. The matrix kernels take four lanes
// at a time (Reg).
#pragma once

#include <arm_neon.h>

#include "kernels/simd_scalar.h"

namespace geist::kernels {

struct Neon {
  static constexpr int kLanes = 16;
  static constexpr int kAccumulators = 16;  // of 32 registers
  static constexpr int kTileRows = 8, kTileTokens = 3;
  static constexpr int kDecodeRows = 4;

  struct F {
    float32x4_t q[4];
  };
  struct I {
    uint32x4_t q[4];
  };
  struct M {
    uint32x4_t q[4];
  };

  // Four lanes.
  struct Reg {
    using T = float32x4_t;
    static constexpr int kLanes = 4;
    static GEIST_INLINE T zero() { return vdupq_n_f32(0.0f); }
    static GEIST_INLINE T set1(float x) { return vdupq_n_f32(x); }
    static GEIST_INLINE T load(const float* p) { return vld1q_f32(p); }
    static GEIST_INLINE T load_n(const float* p, int64_t n) {  // n <= 0: none, n >= 4: all
      if (n >= 4) return vld1q_f32(p);
      float lane[4] = {};
      for (int64_t i = 0; i < n; ++i) lane[i] = p[i];
      return vld1q_f32(lane);
    }
    static GEIST_INLINE T load_f16(const void* p) {
      return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t*>(p))));
    }
    static GEIST_INLINE T load_bf16(const void* p) {
      return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(static_cast<const uint16_t*>(p)), 16));
    }
    static GEIST_INLINE T load_i8(const void* p) {
      uint32_t four;
      __builtin_memcpy(&four, p, sizeof(four));
      const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
      return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    }
    static GEIST_INLINE T set1_f16(const void* p) {
      uint16_t half;
      __builtin_memcpy(&half, p, sizeof(half));
      return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
    }
    static GEIST_INLINE T keep(T a) { return a; }
    static GEIST_INLINE void store(float* p, T a) { vst1q_f32(p, a); }
    static GEIST_INLINE void store_n(float* p, T a, int64_t n) {
      if (n >= 4) return vst1q_f32(p, a);
      float lane[4];
      vst1q_f32(lane, a);
      for (int64_t i = 0; i < n; ++i) p[i] = lane[i];
    }
    static GEIST_INLINE T mul(T a, T b) { return vmulq_f32(a, b); }
    static GEIST_INLINE T fma(T a, T b, T c) { return vfmaq_f32(c, a, b); }
  };

#define GEIST_EACH(Type, expression)                          \
  do {                                                        \
    Type each_out;                                            \
    GEIST_UNROLL                                              \
    for (int i = 0; i < 4; ++i) each_out.q[i] = (expression); \
    return each_out;                                          \
  } while (false)

  static GEIST_INLINE F zero() { GEIST_EACH(F, vdupq_n_f32(0.0f)); }
  static GEIST_INLINE F set1(float x) { GEIST_EACH(F, vdupq_n_f32(x)); }
  static GEIST_INLINE F load(const float* p) { GEIST_EACH(F, vld1q_f32(p + 4 * i)); }
  static GEIST_INLINE F load_n(const float* p, int64_t n) {
    GEIST_EACH(F, Reg::load_n(p + 4 * i, n - 4 * i));
  }
  static GEIST_INLINE void store(float* p, const F& a) {
    GEIST_UNROLL
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.q[i]);
  }
  static GEIST_INLINE void store_n(float* p, const F& a, int64_t n) {
    GEIST_UNROLL
    for (int i = 0; i < 4; ++i) Reg::store_n(p + 4 * i, a.q[i], n - 4 * i);
  }
  static GEIST_INLINE F load_f16(const void* p) {
    const uint16_t* half = static_cast<const uint16_t*>(p);
    GEIST_EACH(F, Reg::load_f16(half + 4 * i));
  }
  static GEIST_INLINE F load_bf16(const void* p) {
    const uint16_t* half = static_cast<const uint16_t*>(p);
    GEIST_EACH(F, Reg::load_bf16(half + 4 * i));
  }
  static GEIST_INLINE F load_f16_n(const void* p, int64_t n) {
    uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    return load_f16(half);
  }
  static GEIST_INLINE F load_bf16_n(const void* p, int64_t n) {
    uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    return load_bf16(half);
  }

  static GEIST_INLINE F add(F a, F b) { GEIST_EACH(F, vaddq_f32(a.q[i], b.q[i])); }
  static GEIST_INLINE F sub(F a, F b) { GEIST_EACH(F, vsubq_f32(a.q[i], b.q[i])); }
  static GEIST_INLINE F mul(F a, F b) { GEIST_EACH(F, vmulq_f32(a.q[i], b.q[i])); }
  static GEIST_INLINE F div(F a, F b) { GEIST_EACH(F, vdivq_f32(a.q[i], b.q[i])); }
  static GEIST_INLINE F sqrt(F a) { GEIST_EACH(F, vsqrtq_f32(a.q[i])); }
  static GEIST_INLINE F fma(F a, F b, F c) { GEIST_EACH(F, vfmaq_f32(c.q[i], a.q[i], b.q[i])); }
  // By comparison: the instructions for minimum and maximum treat NaN and the sign of 0 otherwise.
  static GEIST_INLINE float32x4_t min4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
  }
  static GEIST_INLINE float32x4_t max4(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
  }
  static GEIST_INLINE F min(F a, F b) { GEIST_EACH(F, min4(a.q[i], b.q[i])); }
  static GEIST_INLINE F max(F a, F b) { GEIST_EACH(F, max4(a.q[i], b.q[i])); }
  static GEIST_INLINE F neg(F a) { GEIST_EACH(F, vnegq_f32(a.q[i])); }
  static GEIST_INLINE F abs(F a) { GEIST_EACH(F, vabsq_f32(a.q[i])); }
  static GEIST_INLINE F copy_sign(F magnitude, F sign) {
    GEIST_EACH(F, vbslq_f32(vdupq_n_u32(0x80000000u), sign.q[i], magnitude.q[i]));
  }
  static GEIST_INLINE M less(F a, F b) { GEIST_EACH(M, vcltq_f32(a.q[i], b.q[i])); }
  static GEIST_INLINE M is_nan(F a) { GEIST_EACH(M, vmvnq_u32(vceqq_f32(a.q[i], a.q[i]))); }
  static GEIST_INLINE int32x4_t count4(int32_t first) {  // first, first + 1, ...
    const int32_t step[4] = {0, 1, 2, 3};
    return vaddq_s32(vdupq_n_s32(first), vld1q_s32(step));
  }
  static GEIST_INLINE M range(int32_t begin, int32_t end) {
    GEIST_EACH(M, vandq_u32(vcgeq_s32(count4(4 * i), vdupq_n_s32(begin)),
                            vcltq_s32(count4(4 * i), vdupq_n_s32(end))));
  }
  static GEIST_INLINE F select(M m, F yes, F no) {
    GEIST_EACH(F, vbslq_f32(m.q[i], yes.q[i], no.q[i]));
  }
  static GEIST_INLINE I bits(F a) { GEIST_EACH(I, vreinterpretq_u32_f32(a.q[i])); }
  static GEIST_INLINE F from_bits(I a) { GEIST_EACH(F, vreinterpretq_f32_u32(a.q[i])); }
  static GEIST_INLINE I add_int(I a, I b) { GEIST_EACH(I, vaddq_u32(a.q[i], b.q[i])); }
  template <int kCount>
  static GEIST_INLINE I shift_left(I a) {
    GEIST_EACH(I, vshlq_n_u32(a.q[i], kCount));
  }
  static GEIST_INLINE F count_from(int32_t first) {
    GEIST_EACH(F, vcvtq_f32_s32(count4(first + 4 * i)));
  }
#undef GEIST_EACH

  static GEIST_INLINE float sum(const F& v) {
    const float32x4_t a = vaddq_f32(v.q[0], v.q[2]), b = vaddq_f32(v.q[1], v.q[3]);
    const float32x4_t quarter = vaddq_f32(a, b);
    const float32x2_t pair = vadd_f32(vget_low_f32(quarter), vget_high_f32(quarter));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
  }
  static GEIST_INLINE void sum4(const F& a, const F& b, const F& c, const F& d, float* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
  static GEIST_INLINE float max_lane(const F& v) {
    float lane[4];
    vst1q_f32(lane, max4(max4(v.q[0], v.q[2]), max4(v.q[1], v.q[3])));
    return OneLane::max(OneLane::max(lane[0], lane[2]), OneLane::max(lane[1], lane[3]));
  }
  static GEIST_INLINE void deinterleave(F a, F b, F& even, F& odd) {
    even = {vuzp1q_f32(a.q[0], a.q[1]), vuzp1q_f32(a.q[2], a.q[3]), vuzp1q_f32(b.q[0], b.q[1]),
            vuzp1q_f32(b.q[2], b.q[3])};
    odd = {vuzp2q_f32(a.q[0], a.q[1]), vuzp2q_f32(a.q[2], a.q[3]), vuzp2q_f32(b.q[0], b.q[1]),
           vuzp2q_f32(b.q[2], b.q[3])};
  }
  static GEIST_INLINE void interleave(F even, F odd, F& a, F& b) {
    a = {vzip1q_f32(even.q[0], odd.q[0]), vzip2q_f32(even.q[0], odd.q[0]),
         vzip1q_f32(even.q[1], odd.q[1]), vzip2q_f32(even.q[1], odd.q[1])};
    b = {vzip1q_f32(even.q[2], odd.q[2]), vzip2q_f32(even.q[2], odd.q[2]),
         vzip1q_f32(even.q[3], odd.q[3]), vzip2q_f32(even.q[3], odd.q[3])};
  }
};

}  // namespace geist::kernels
