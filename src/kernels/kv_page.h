// How the keys and values of up to kPageTokens tokens lie in memory, for one layer: a block for
// each kv head, in order, and in it four sections, each at a multiple of 64 bytes:
//
//   keys    [key_dim][kPageTokens]         one load reads the same element of 16 keys
//   scales  [key_dim / 32][kPageTokens]    Q8_0 only: of 32 elements of a key
//   values  [kPageTokens][value_dim]
//   scales  [kPageTokens][value_dim / 32]  Q8_0 only
//
// So a head's share of a page is one run of bytes, and a page needs nothing from outside to be
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace geist::kernels {

inline constexpr int32_t kPageTokens = 32;
inline constexpr int32_t kKvScaleBlock = 32;  // elements of a key or value that share a scale
inline constexpr int64_t kKvAlignment = 64;

enum class KvType : uint8_t { kF32, kF16, kBF16, kQ8_0 };
inline constexpr int kKvTypeCount = 4;

const char* kv_type_name(KvType type);  // "f32", "f16", "bf16", "q8_0"

struct KvShape {
  int32_t kv_heads, key_dim, value_dim;
  KvType type = KvType::kF32;
};

// Offsets in the block of one kv head, and its size, in bytes.
struct KvBlock {
  int64_t key_scales, values, value_scales, bytes;
};

constexpr int64_t kv_element_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kQ8_0 ? 1 : 2;
}

constexpr KvBlock kv_block(const KvShape& s) {
  const auto aligned = [](int64_t n) {
    return (n + kKvAlignment - 1) / kKvAlignment * kKvAlignment;
  };
  const auto scales = [&](int64_t dim) {
    const int64_t blocks = (dim + kKvScaleBlock - 1) / kKvScaleBlock;
    return s.type == KvType::kQ8_0 ? aligned(blocks * kPageTokens * 2) : 0;
  };
  const int64_t element = kv_element_bytes(s.type);
  KvBlock block{};
  block.key_scales = aligned(int64_t{s.key_dim} * kPageTokens * element);
  block.values = block.key_scales + scales(s.key_dim);
  block.value_scales = block.values + aligned(int64_t{s.value_dim} * kPageTokens * element);
  block.bytes = block.value_scales + scales(s.value_dim);
  return block;
}

// Of one layer; nothing when that is more than an int64_t holds.
std::optional<int64_t> kv_layer_bytes(const KvShape& shape);

// Rounds a token's keys [kv_heads][key_dim] and values [kv_heads][value_dim] into its slot, once:
// what attention reads is what lies here. Rounding: docs/numerics.md.
void kv_store(const KvShape& shape, std::byte* layer, int32_t slot, const float* keys,
              const float* values);
// Zeroes the slots from this one on: as if they had never been written.
void kv_clear(const KvShape& shape, std::byte* layer, int32_t first_slot);

}  // namespace geist::kernels
