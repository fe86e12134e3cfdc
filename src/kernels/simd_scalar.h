// Sixteen f32 lanes, written out: the reference for simd_avx2.h and simd_avx512.h, which have the
// same members. Plain C++ for any processor, compiled twice: as it is (Scalar), and with the fused
// multiply-add instruction (ScalarFma). Kernels are templates over this interface (rows_inl.h,
// attention_inl.h, matmul_float_inl.h), written once and instantiated once an instruction set, so
// an order of evaluation has one source.
//
// Members: F (16 f32), I (16 i32), M (16 booleans); Reg, the register that the matrix kernels tile
// over (16 lanes, or fewer where a register is narrower). A lane never depends on another lane,
// except in sum (tree16 of docs/numerics.md), sum4, max_lane and the (de)interleave pair. Every
// floating operation rounds once. min(a, b) is a < b ? a : b and max(a, b) is a > b ? a : b, so a
// NaN in a gives b.
//
// Nothing here may use an inline function or template of the standard library: compiled for a wide
// instruction set, the linker could hand its copy to generic code.
#pragma once

#include <cstddef>
#include <cstdint>

#define GEIST_INLINE inline __attribute__((always_inline))
// Unrolls the loop that follows completely: accumulators in an array become registers only then.
#if defined(__clang__)
#define GEIST_UNROLL _Pragma("unroll")
#else
#define GEIST_UNROLL _Pragma("GCC unroll 32")
#endif

namespace geist::kernels {

template <typename To, typename From>
GEIST_INLINE To bit_copy(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// Exact. A signalling NaN becomes quiet, as the processor's instruction makes it.
GEIST_INLINE float widen_f16(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffu;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  if (magnitude > 0x7c00u) return bit_copy<float>(sign | 0x7fc00000u | (magnitude << 13));
  if (magnitude == 0x7c00u) return bit_copy<float>(sign | 0x7f800000u);
  // Exponents are biased by 127 instead of 15. A subnormal is its mantissa times 2^-24: computed
  // from an integer, for processors take a hundred times as long over subnormals of their own.
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  return bit_copy<float>((magnitude < 0x400u ? bit_copy<uint32_t>(subnormal) : normal) | sign);
}

GEIST_INLINE float widen_bf16(uint16_t bits) {
  return bit_copy<float>(static_cast<uint32_t>(bits) << 16);
}

// fma(a, b, c) without the instruction, exactly. The product is exact in double. The sum is rounded
// to odd (where it is not exact its last bit is set), after which rounding to f32 is as if it had
// been the only rounding: double has more than two bits beyond f32's.
GEIST_INLINE float fma_from_doubles(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c), sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);  // exact; NaN beyond infinity
  const uint64_t bits = bit_copy<uint64_t>(sum);
  const bool towards_zero = (error < 0) != (sum < 0);  // the exact sum lies nearer to 0
  const bool step = (error < 0 || error > 0) && (bits & 1) == 0;
  const uint64_t by = towards_zero ? ~uint64_t{0} : uint64_t{1};
  return static_cast<float>(bit_copy<double>(step ? bits + by : bits));
}

GEIST_INLINE float fused_multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return fma_from_doubles(a, b, c);
#endif
}

// One lane: what simd_math.h needs to define its functions on a single float.
struct OneLane {
  using F = float;
  using I = uint32_t;
  using M = bool;
  static GEIST_INLINE F set1(float x) { return x; }
  static GEIST_INLINE F add(F a, F b) { return a + b; }
  static GEIST_INLINE F sub(F a, F b) { return a - b; }
  static GEIST_INLINE F mul(F a, F b) { return a * b; }
  static GEIST_INLINE F div(F a, F b) { return a / b; }
  static GEIST_INLINE F fma(F a, F b, F c) { return fused_multiply_add(a, b, c); }
  static GEIST_INLINE F min(F a, F b) { return a < b ? a : b; }
  static GEIST_INLINE F max(F a, F b) { return a > b ? a : b; }
  static GEIST_INLINE F neg(F a) { return bit_copy<float>(bit_copy<uint32_t>(a) ^ 0x80000000u); }
  static GEIST_INLINE F abs(F a) { return bit_copy<float>(bit_copy<uint32_t>(a) & 0x7fffffffu); }
  static GEIST_INLINE F copy_sign(F magnitude, F sign) {
    return bit_copy<float>((bit_copy<uint32_t>(magnitude) & 0x7fffffffu) |
                           (bit_copy<uint32_t>(sign) & 0x80000000u));
  }
  static GEIST_INLINE M less(F a, F b) { return a < b; }
  static GEIST_INLINE M is_nan(F a) { return a != a; }
  static GEIST_INLINE F select(M m, F yes, F no) { return m ? yes : no; }
  static GEIST_INLINE I bits(F a) { return bit_copy<uint32_t>(a); }
  static GEIST_INLINE F from_bits(I a) { return bit_copy<float>(a); }
  static GEIST_INLINE I add_int(I a, I b) { return a + b; }
  template <int kCount>
  static GEIST_INLINE I shift_left(I a) {
    return a << kCount;
  }
};

struct Scalar {
  static constexpr int kLanes = 16;
  // Accumulators that a tile of the matrix and attention kernels keeps, counted in Reg.
  static constexpr int kAccumulators = 4;
  static constexpr int kTileRows = 2, kTileTokens = 2;  // of the matrix product
  static constexpr int kDecodeRows = 2;

  struct F {
    float lane[16];
  };
  struct I {
    uint32_t lane[16];
  };
  struct M {
    bool lane[16];
  };

#define GEIST_EACH(Type, expression)                              \
  do {                                                            \
    Type each_out;                                                \
    for (int i = 0; i < 16; ++i) each_out.lane[i] = (expression); \
    return each_out;                                              \
  } while (false)

  static GEIST_INLINE F zero() { GEIST_EACH(F, 0.0f); }
  static GEIST_INLINE F set1(float x) { GEIST_EACH(F, x); }
  static GEIST_INLINE F load(const float* p) {
    F out;
    __builtin_memcpy(out.lane, p, sizeof(out.lane));
    return out;
  }
  // The first n of 16, 0 <= n <= 16; the others are +0 and their memory is not read.
  static GEIST_INLINE F load_n(const float* p, int64_t n) {
    F out = zero();
    __builtin_memcpy(out.lane, p, static_cast<size_t>(n) * sizeof(float));
    return out;
  }
  static GEIST_INLINE void store(float* p, const F& a) {
    __builtin_memcpy(p, a.lane, sizeof(a.lane));
  }
  static GEIST_INLINE void store_n(float* p, const F& a, int64_t n) {
    __builtin_memcpy(p, a.lane, static_cast<size_t>(n) * sizeof(float));
  }
  static GEIST_INLINE F load_f16_n(const void* p, int64_t n) {
    uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    GEIST_EACH(F, widen_f16(half[i]));
  }
  static GEIST_INLINE F load_bf16_n(const void* p, int64_t n) {
    uint16_t half[16] = {};
    __builtin_memcpy(half, p, static_cast<size_t>(n) * 2);
    GEIST_EACH(F, widen_bf16(half[i]));
  }
  static GEIST_INLINE F load_f16(const void* p) { return load_f16_n(p, 16); }
  static GEIST_INLINE F load_bf16(const void* p) { return load_bf16_n(p, 16); }

  static GEIST_INLINE F add(F a, F b) { GEIST_EACH(F, a.lane[i] + b.lane[i]); }
  static GEIST_INLINE F sub(F a, F b) { GEIST_EACH(F, a.lane[i] - b.lane[i]); }
  static GEIST_INLINE F mul(F a, F b) { GEIST_EACH(F, a.lane[i] * b.lane[i]); }
  static GEIST_INLINE F div(F a, F b) { GEIST_EACH(F, a.lane[i] / b.lane[i]); }
  static GEIST_INLINE F sqrt(F a) { GEIST_EACH(F, __builtin_sqrtf(a.lane[i])); }
  static GEIST_INLINE F fma(F a, F b, F c) {
    GEIST_EACH(F, OneLane::fma(a.lane[i], b.lane[i], c.lane[i]));
  }
  static GEIST_INLINE F min(F a, F b) { GEIST_EACH(F, OneLane::min(a.lane[i], b.lane[i])); }
  static GEIST_INLINE F max(F a, F b) { GEIST_EACH(F, OneLane::max(a.lane[i], b.lane[i])); }
  static GEIST_INLINE F neg(F a) { GEIST_EACH(F, OneLane::neg(a.lane[i])); }
  static GEIST_INLINE F abs(F a) { GEIST_EACH(F, OneLane::abs(a.lane[i])); }
  static GEIST_INLINE F copy_sign(F a, F b) {
    GEIST_EACH(F, OneLane::copy_sign(a.lane[i], b.lane[i]));
  }
  static GEIST_INLINE M less(F a, F b) { GEIST_EACH(M, a.lane[i] < b.lane[i]); }
  static GEIST_INLINE M is_nan(F a) { GEIST_EACH(M, a.lane[i] != a.lane[i]); }
  // Lanes begin <= i < end.
  static GEIST_INLINE M range(int32_t begin, int32_t end) { GEIST_EACH(M, i >= begin && i < end); }
  static GEIST_INLINE F select(M m, F yes, F no) {
    GEIST_EACH(F, m.lane[i] ? yes.lane[i] : no.lane[i]);
  }
  static GEIST_INLINE I bits(F a) { GEIST_EACH(I, bit_copy<uint32_t>(a.lane[i])); }
  static GEIST_INLINE F from_bits(I a) { GEIST_EACH(F, bit_copy<float>(a.lane[i])); }
  static GEIST_INLINE I add_int(I a, I b) { GEIST_EACH(I, a.lane[i] + b.lane[i]); }
  template <int kCount>
  static GEIST_INLINE I shift_left(I a) {
    GEIST_EACH(I, a.lane[i] << kCount);
  }
  // float(first), float(first + 1), ...
  static GEIST_INLINE F count_from(int32_t first) { GEIST_EACH(F, static_cast<float>(first + i)); }
#undef GEIST_EACH

  static GEIST_INLINE float sum(const F& v) {
    float a[8], b[4];
    for (int j = 0; j < 8; ++j) a[j] = v.lane[j] + v.lane[j + 8];
    for (int j = 0; j < 4; ++j) b[j] = a[j] + a[j + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
  }
  // out[i] = sum of the i-th
  static GEIST_INLINE void sum4(const F& a, const F& b, const F& c, const F& d, float* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
  static GEIST_INLINE float max_lane(const F& v) {
    float a[8], b[4];
    for (int j = 0; j < 8; ++j) a[j] = OneLane::max(v.lane[j], v.lane[j + 8]);
    for (int j = 0; j < 4; ++j) b[j] = OneLane::max(a[j], a[j + 4]);
    return OneLane::max(OneLane::max(b[0], b[2]), OneLane::max(b[1], b[3]));
  }
  // a, b as one run of 32: its elements of even and of odd index.
  static GEIST_INLINE void deinterleave(F a, F b, F& even, F& odd) {
    for (int i = 0; i < 8; ++i) {
      even.lane[i] = a.lane[2 * i];
      odd.lane[i] = a.lane[2 * i + 1];
      even.lane[8 + i] = b.lane[2 * i];
      odd.lane[8 + i] = b.lane[2 * i + 1];
    }
  }
  static GEIST_INLINE void interleave(F even, F odd, F& a, F& b) {
    for (int i = 0; i < 8; ++i) {
      a.lane[2 * i] = even.lane[i];
      a.lane[2 * i + 1] = odd.lane[i];
      b.lane[2 * i] = even.lane[8 + i];
      b.lane[2 * i + 1] = odd.lane[8 + i];
    }
  }

  struct Reg {
    using T = F;
    static constexpr int kLanes = 16;
    static GEIST_INLINE T zero() { return Scalar::zero(); }
    static GEIST_INLINE T set1(float x) { return Scalar::set1(x); }
    static GEIST_INLINE T load(const float* p) { return Scalar::load(p); }
    static GEIST_INLINE T load_n(const float* p, int64_t n) { return Scalar::load_n(p, n); }
    // kLanes elements of pages of keys and values (kv_page.h), widened; set1_f16: one of them.
    static GEIST_INLINE T load_f16(const void* p) { return Scalar::load_f16(p); }
    static GEIST_INLINE T load_bf16(const void* p) { return Scalar::load_bf16(p); }
    static GEIST_INLINE T load_i8(const void* p) {
      const int8_t* code = static_cast<const int8_t*>(p);
      T out;
      for (int i = 0; i < 16; ++i) out.lane[i] = static_cast<float>(code[i]);
      return out;
    }
    static GEIST_INLINE T set1_f16(const void* p) {
      uint16_t half;
      __builtin_memcpy(&half, p, 2);
      return set1(widen_f16(half));
    }
    static GEIST_INLINE T keep(const T& a) { return a; }
    static GEIST_INLINE void store(float* p, const T& a) { Scalar::store(p, a); }
    static GEIST_INLINE void store_n(float* p, const T& a, int64_t n) { Scalar::store_n(p, a, n); }
    static GEIST_INLINE T mul(const T& a, const T& b) { return Scalar::mul(a, b); }
    static GEIST_INLINE T fma(const T& a, const T& b, const T& c) { return Scalar::fma(a, b, c); }
  };
};

// The same lanes for scalar_fma.cc: another type, so that functions compiled for that file are
// never linked into code for any processor.
struct ScalarFma : Scalar {};

}  // namespace geist::kernels
