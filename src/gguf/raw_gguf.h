// Builds the bytes of GGUF files field by field, for tests and fuzz targets: unlike Writer it can
// say anything, also what no valid file says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace geist::gguf {

class RawGguf {
 public:
  template <typename T>
  RawGguf& number(T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
    return *this;
  }
  RawGguf& u8(uint8_t v) { return number(v); }
  RawGguf& u32(uint32_t v) { return number(v); }
  RawGguf& u64(uint64_t v) { return number(v); }
  RawGguf& f32(float v) { return number(v); }
  RawGguf& text(std::string_view v) {
    out_ += v;
    return *this;
  }
  RawGguf& string(std::string_view v) { return u64(v.size()).text(v); }
  RawGguf& type(ValueType v) { return u32(static_cast<uint32_t>(v)); }

  RawGguf& preamble(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return text("GGUF").u32(version).u64(tensors).u64(keys);
  }
  // A key and its value's type; the value follows.
  RawGguf& key(std::string_view name, ValueType value) { return string(name).type(value); }
  RawGguf& array(std::string_view name, ValueType element, uint64_t count) {
    return key(name, ValueType::kArray).type(element).u64(count);
  }
  RawGguf& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t tensor_type,
                  uint64_t offset) {
    string(name).u32(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) u64(dim);
    return u32(tensor_type).u64(offset);
  }
  RawGguf& pad(size_t alignment = 32) {
    out_.append((alignment - out_.size() % alignment) % alignment, '\0');
    return *this;
  }
  RawGguf& zeros(size_t count) {
    out_.append(count, '\0');
    return *this;
  }

  const std::string& bytes() const { return out_; }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(out_)); }

 private:
  std::string out_;
};

}  // namespace geist::gguf
