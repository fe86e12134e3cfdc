// The operations that panel_inl.h needs, for NEON, four lanes at a time; Product is how four
// products of bytes are added to a lane, with the dot product instruction or without.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/simd_scalar.h"

namespace geist::kernels {

template <typename Product>
struct PanelNeon {
  static constexpr int kLanes = 4;
  static constexpr int kTilePanels = 1, kTileTokens = 2;
  static constexpr int kFusedTokens = 3;

  using F = float32x4_t;
  using I = int32x4_t;

  // Bytes are signed: codes beyond 127 are taken without their bias.
  template <int kMaxCode>
  struct Dot {
    static constexpr bool kSigned = kMaxCode > 127;
    static constexpr int kClass = kSigned ? 255 : 127;

    Dot() = default;
    GEIST_INLINE explicit Dot(I start) : sum(start) {}
    template <int kIndex, int kCount>
    GEIST_INLINE void step(I w, I x) {
      sum = Product::add(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x));
    }
    I sum;
  };

  static GEIST_INLINE F zero() { return vdupq_n_f32(0.0f); }
  static GEIST_INLINE F splat(float v) { return vdupq_n_f32(v); }
  static GEIST_INLINE F load(const float* p) { return vld1q_f32(p); }
  static GEIST_INLINE void store(float* p, F v) { vst1q_f32(p, v); }
  // n <= 0: no lane, n >= 4: all.
  static GEIST_INLINE void store_first(float* p, F v, int64_t n) {
    if (n >= kLanes) return store(p, v);
    float lane[4];
    vst1q_f32(lane, v);
    for (int64_t i = 0; i < n; ++i) p[i] = lane[i];
  }
  static GEIST_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
  static GEIST_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static GEIST_INLINE F neg(F a) { return vnegq_f32(a); }
  static GEIST_INLINE F to_float(I a) { return vcvtq_f32_s32(a); }

  static GEIST_INLINE F load_f16(const uint8_t* p) {
    uint16_t half[4];
    __builtin_memcpy(half, p, sizeof(half));
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half)));
  }
  static GEIST_INLINE uint8x8_t load_4(const uint8_t* p) {
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof(four));
    return vreinterpret_u8_u32(vdup_n_u32(four));
  }
  static GEIST_INLINE F load_int8(const uint8_t* p) {
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(load_4(p)));
    return to_float(vmovl_s16(vget_low_s16(wide)));
  }
  static GEIST_INLINE F unsigned_to_float(uint8x8_t bytes) {
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
  }
  static GEIST_INLINE F load_low_nibbles(const uint8_t* p) {
    return unsigned_to_float(vand_u8(load_4(p), vdup_n_u8(15)));
  }
  static GEIST_INLINE F load_high_nibbles(const uint8_t* p) {
    return unsigned_to_float(vshr_n_u8(load_4(p), 4));
  }

  static GEIST_INLINE I load_bytes(const uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
  static GEIST_INLINE void store_bytes(uint8_t* p, I v) { vst1q_u8(p, vreinterpretq_u8_s32(v)); }
  static GEIST_INLINE I splat_int(int32_t v) { return vdupq_n_s32(v); }
  static GEIST_INLINE I splat_byte(int v) {
    return vreinterpretq_s32_s8(vdupq_n_s8(static_cast<int8_t>(v)));
  }
  static GEIST_INLINE I bit_and(I a, I b) { return vandq_s32(a, b); }
  static GEIST_INLINE I sub_bytes(I a, I b) {
    return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
  }
  static GEIST_INLINE I or_masked(I a, I b, I mask) { return vorrq_s32(a, vandq_s32(b, mask)); }
  template <int kCount>
  static GEIST_INLINE I shift(I a) {
    const uint32x4_t bits = vreinterpretq_u32_s32(a);
    if constexpr (kCount > 0) return vreinterpretq_s32_u32(vshlq_n_u32(bits, kCount));
    if constexpr (kCount < 0) return vreinterpretq_s32_u32(vshrq_n_u32(bits, -kCount));
    return a;
  }
  static GEIST_INLINE I load_table(const uint8_t* p) { return load_bytes(p); }
  static GEIST_INLINE I lookup(I table, I index) {
    return vreinterpretq_s32_u8(
        vqtbl1q_u8(vreinterpretq_u8_s32(table), vreinterpretq_u8_s32(index)));
  }
};

}  // namespace geist::kernels
