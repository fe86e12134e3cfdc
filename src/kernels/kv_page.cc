#include "kernels/kv_page.h"

#include <cstring>

#include "base/check.h"
#include "base/checked.h"

namespace geist::kernels {

std::optional<int64_t> kv_layer_bytes(const KvShape& shape) {
  return checked_mul<int64_t>(shape.kv_heads, kv_block(shape).bytes);
}

void kv_store(const KvShape& s, std::byte* layer, int32_t slot, const float* keys,
              const float* values) {
  GEIST_CHECK(s.type == KvType::kF32);
  const KvBlock block = kv_block(s);
  for (int32_t h = 0; h < s.kv_heads; ++h, layer += block.bytes) {
    auto* k = reinterpret_cast<float*>(layer) + slot;
    for (int32_t d = 0; d < s.key_dim; ++d) k[int64_t{d} * kPageTokens] = *keys++;
    std::memcpy(layer + block.values + int64_t{slot} * s.value_dim * 4, values,
                static_cast<size_t>(s.value_dim) * sizeof(float));
    values += s.value_dim;
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
  const auto blocks = [](int64_t dim) { return (dim + kKvScaleBlock - 1) / kKvScaleBlock; };
  const int64_t element = kv_element_bytes(s.type);
  for (int32_t h = 0; h < s.kv_heads; ++h, layer += block.bytes) {
    clear_columns(layer, s.key_dim, element);
    clear_rows(layer + block.values, layer + block.value_scales, s.value_dim * element);
    if (s.type != KvType::kQ8_0) continue;
    clear_columns(layer + block.key_scales, blocks(s.key_dim), 2);
    clear_rows(layer + block.value_scales, layer + block.bytes, blocks(s.value_dim) * 2);
  }
}

}  // namespace geist::kernels
