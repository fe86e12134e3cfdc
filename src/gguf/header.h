// The header of one GGUF file: everything but the tensors' data (internal to this folder).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"

namespace geist::gguf {

// Named maxima: a file that passes them is damaged or hostile, whatever its size. They bound the
// memory that opening takes; the largest public models stay a factor of ten below each.
inline constexpr uint64_t kHeaderBytesMax = 1ull << 30;
inline constexpr uint64_t kKeyCountMax = 1ull << 16;
inline constexpr uint64_t kKeyBytesMax = 65535;            // the specification's
inline constexpr uint64_t kArrayElementsMax = 1ull << 24;  // over all arrays of a file
inline constexpr uint64_t kTensorCountMax = 1ull << 20;
inline constexpr uint64_t kTensorNameBytesMax =
    256;  // the specification says 64; files in the wild pass it
inline constexpr uint32_t kDimensionsMax = 4;
inline constexpr uint64_t kAlignmentMin = 8, kAlignmentMax = 1ull << 20;

struct Header {
  uint32_t version = 3;
  Metadata metadata;
  std::vector<Tensor>
      tensors;  // as listed; data spans point into the bytes given, checked to lie inside
};

// Checks all of it: a Header that is returned can be used without further checks of sizes. `name`
// opens every error message. Reads only the header's bytes, however large the file is.
Result<Header> parse_header(std::span<const std::byte> bytes, const std::string& name);

}  // namespace geist::gguf
