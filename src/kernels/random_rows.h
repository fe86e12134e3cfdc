// Quantised rows for tests and benchmarks: random bytes that are legal in every format.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/tensor_type.h"

namespace geist::kernels {

// Where the f16 fields of a block begin, so that random bytes can be given finite ones.
inline std::vector<int> f16_fields(TensorType type) {
  switch (type) {
    case TensorType::kQ4_1:
    case TensorType::kQ5_1:
    case TensorType::kQ4_K:
    case TensorType::kQ5_K:
      return {0, 2};
    case TensorType::kQ2_K:
      return {80, 82};
    case TensorType::kQ3_K:
      return {108};
    case TensorType::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

// Rows of random bytes: every code and every small scale occurs. The f16 scales are finite: when
// wild, of any size and both signs with some zero and subnormal, otherwise below 0.06.
inline std::vector<std::byte> random_rows(TensorType type, int64_t rows, int64_t cols,
                                          uint64_t seed, bool wild = true) {
  RandomStream rng(seed, "random_rows");
  const TensorTypeInfo& info = tensor_type_info(type);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * *row_bytes(type, cols)));
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = rng.next_u64();
    std::memcpy(&bytes[i], &word, std::min<size_t>(8, bytes.size() - i));
  }
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(info.block_bytes)) {
    for (const int field : f16_fields(type)) {
      uint16_t bits = static_cast<uint16_t>(rng.next_below(65536) & (wild ? 0xffff : 0xabff));
      if ((bits & 0x7c00) == 0x7c00) bits ^= 0x4000;
      if (wild && rng.next_below(32) == 0) bits &= 0x83ff;  // subnormal
      if (rng.next_below(64) == 0) bits &= 0x8000;          // zero
      std::memcpy(&bytes[block + static_cast<size_t>(field)], &bits, 2);
    }
  }
  return bytes;
}

}  // namespace geist::kernels
