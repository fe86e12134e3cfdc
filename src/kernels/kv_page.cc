#include "kernels/kv_page.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "kernels/block.h"

namespace geist::kernels {

namespace {

constexpr int64_t scale_blocks(int64_t dim) { return (dim + kKvScaleBlock - 1) / kKvScaleBlock; }

// A key beyond the range of f16 becomes its largest number: an infinity would make every score of
// its column one, or NaN. A NaN stays.
float finite_f16(float x) {
  constexpr float kMax = 65504.0f;
  x = x > kMax ? kMax : x;
  return x < -kMax ? -kMax : x;
}

// Keys [key_dim] go down a column, values [value_dim] along a row.
template <typename E, typename Round>
void store_elements(const KvShape& s, std::byte* layer, int32_t slot, const float* keys,
                    const float* values, Round round) {
  const KvBlock block = kv_block(s);
  for (int32_t h = 0; h < s.kv_heads; ++h, layer += block.bytes) {
    E* k = reinterpret_cast<E*>(layer) + slot;
    for (int32_t d = 0; d < s.key_dim; ++d) k[int64_t{d} * kPageTokens] = round(*keys++);
    E* v = reinterpret_cast<E*>(layer + block.values) + int64_t{slot} * s.value_dim;
    for (int32_t d = 0; d < s.value_dim; ++d) v[d] = round(*values++);
  }
}

// One block of at most kKvScaleBlock numbers: codes a stride apart, and the scale. Order of
// operations: docs/numerics.md.
void store_block(const float* x, int32_t n, int8_t* codes, int64_t stride, uint16_t* scale_bits) {
  float largest = 0.0f;
  for (int32_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  *scale_bits = f32_to_f16(finite_f16(largest / 127.0f));
  const float scale = f16_to_f32(*scale_bits);
  for (int32_t i = 0; i < n; ++i) {
    float v = scale > 0.0f ? x[i] / scale : 0.0f;
    v = v > -127.0f ? v : -127.0f;
    v = v < 127.0f ? v : 127.0f;
    constexpr float kRound = 0x1.8p23f;  // to nearest even
    codes[i * stride] = static_cast<int8_t>((v + kRound) - kRound);
  }
}

void store_codes(const KvShape& s, std::byte* layer, int32_t slot, const float* keys,
                 const float* values) {
  const KvBlock block = kv_block(s);
  const int64_t value_blocks = scale_blocks(s.value_dim);
  for (int32_t h = 0; h < s.kv_heads; ++h, layer += block.bytes) {
    int8_t* k = reinterpret_cast<int8_t*>(layer) + slot;
    auto* k_scales = reinterpret_cast<uint16_t*>(layer + block.key_scales) + slot;
    for (int32_t d = 0; d < s.key_dim; d += kKvScaleBlock)
      store_block(keys + d, std::min(kKvScaleBlock, s.key_dim - d), k + int64_t{d} * kPageTokens,
                  kPageTokens, k_scales + d / kKvScaleBlock * kPageTokens);
    int8_t* v = reinterpret_cast<int8_t*>(layer + block.values) + int64_t{slot} * s.value_dim;
    auto* v_scales = reinterpret_cast<uint16_t*>(layer + block.value_scales) + slot * value_blocks;
    for (int32_t d = 0; d < s.value_dim; d += kKvScaleBlock)
      store_block(values + d, std::min(kKvScaleBlock, s.value_dim - d), v + d, 1,
                  v_scales + d / kKvScaleBlock);
    keys += s.key_dim;
    values += s.value_dim;
  }
}

}  // namespace

const char* kv_type_name(KvType type) {
  constexpr const char* kNames[kKvTypeCount] = {"f32", "f16", "bf16", "q8_0"};
  return kNames[static_cast<int>(type)];
}

std::optional<int64_t> kv_layer_bytes(const KvShape& shape) {
  return checked_mul<int64_t>(shape.kv_heads, kv_block(shape).bytes);
}

void kv_store(const KvShape& s, std::byte* layer, int32_t slot, const float* keys,
              const float* values) {
  switch (s.type) {
    case KvType::kF32:
      return store_elements<float>(s, layer, slot, keys, values, [](float x) { return x; });
    case KvType::kF16:
      return store_elements<uint16_t>(s, layer, slot, keys, values,
                                      [](float x) { return f32_to_f16(finite_f16(x)); });
    case KvType::kBF16:
      return store_elements<uint16_t>(s, layer, slot, keys, values, f32_to_bf16);
    case KvType::kQ8_0:
      return store_codes(s, layer, slot, keys, values);
  }
}

void kv_clear(const KvShape& s, std::byte* layer, int32_t first_slot) {
  const KvBlock block = kv_block(s);
  const auto clear_columns = [&](std::byte* at, int64_t rows, int64_t element) {
    for (int64_t r = 0; r < rows; ++r)
      std::memset(at + (r * kPageTokens + first_slot) * element, 0,
                  static_cast<size_t>((kPageTokens - first_slot) * element));
  };
  const auto clear_rows = [&](std::byte* begin, std::byte* end, int64_t row_bytes) {
    begin += first_slot * row_bytes;
    if (begin < end) std::memset(begin, 0, static_cast<size_t>(end - begin));
  };
  const int64_t element = kv_element_bytes(s.type);
  for (int32_t h = 0; h < s.kv_heads; ++h, layer += block.bytes) {
    clear_columns(layer, s.key_dim, element);
    clear_rows(layer + block.values, layer + block.value_scales, s.value_dim * element);
    if (s.type != KvType::kQ8_0) continue;
    clear_columns(layer + block.key_scales, scale_blocks(s.key_dim), 2);
    clear_rows(layer + block.value_scales, layer + block.bytes, scale_blocks(s.value_dim) * 2);
  }
}

}  // namespace geist::kernels
