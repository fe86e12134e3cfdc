// Reading keys and values of a page (kv_page.h), over the lanes of S. Every type widens to f32
// exactly: a code of 8 bits times a scale of 11 fits into the 24 of an f32.
#pragma once

#include "kernels/kv_page.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

// The sections of one kv head.
struct KvHead {
  const std::byte *keys, *key_scales, *values, *value_scales;
  GEIST_INLINE KvHead(const KvShape& shape, const std::byte* layer, int32_t kv_head) {
    const KvBlock block = kv_block(shape);
    keys = layer + kv_head * block.bytes;
    key_scales = keys + block.key_scales;
    values = keys + block.values;
    value_scales = keys + block.value_scales;
  }
};

template <class S, KvType kType>
struct KvRead {
  using Reg = typename S::Reg;
  using T = typename Reg::T;
  static constexpr bool kScaled = kType == KvType::kQ8_0;
  static constexpr int64_t kBytes = kv_element_bytes(kType);

  // Of element d of the keys [first, first + kLanes).
  static GEIST_INLINE T key_scale(const std::byte* scales, int32_t d, int32_t first) {
    if constexpr (kScaled) {
      return Reg::load_f16(scales + (int64_t{d / kKvScaleBlock} * kPageTokens + first) * 2);
    } else {
      return Reg::zero();  // not used
    }
  }
  // Of elements [d, d + kLanes) of a value of `dim` elements.
  static GEIST_INLINE T value_scale(const std::byte* scales, int64_t dim, int32_t key, int64_t d) {
    if constexpr (kScaled) {
      const int64_t blocks = (dim + kKvScaleBlock - 1) / kKvScaleBlock;
      return Reg::set1_f16(scales + (key * blocks + d / kKvScaleBlock) * 2);
    } else {
      return Reg::zero();  // not used
    }
  }

  static GEIST_INLINE T load(const std::byte* p, [[maybe_unused]] const T& scale) {
    if constexpr (kType == KvType::kF32) {
      return Reg::load(reinterpret_cast<const float*>(p));
    } else if constexpr (kType == KvType::kF16) {
      return Reg::load_f16(p);
    } else if constexpr (kType == KvType::kBF16) {
      return Reg::load_bf16(p);
    } else {
      return Reg::mul(Reg::load_i8(p), scale);
    }
  }
  // The first n < kLanes; the rest is not read.
  static GEIST_INLINE T load_n(const std::byte* p, int64_t n, const T& scale) {
    if constexpr (kType == KvType::kF32) {
      return Reg::load_n(reinterpret_cast<const float*>(p), n);
    } else {
      alignas(64) std::byte part[Reg::kLanes * kBytes] = {};
      __builtin_memcpy(part, p, static_cast<size_t>(n * kBytes));
      return load(part, scale);
    }
  }
};

}  // namespace geist::kernels
