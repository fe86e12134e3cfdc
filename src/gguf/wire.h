// How GGUF lays values out in bytes (internal to this folder): which C++ type stands for each value
// type, in the file and in a Value, and the little-endian reader over bytes that nobody has
// checked.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/check.h"
#include "base/result.h"
#include "gguf/gguf.h"

namespace geist::gguf {

static_assert(std::endian::native == std::endian::little, "the file's bytes are used in place");

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr uint32_t kVersion = 3;
inline constexpr uint64_t kDefaultAlignment = 32;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::string_view kSplitNumberKey = "split.no";
inline constexpr std::string_view kSplitCountKey = "split.count";
inline constexpr std::string_view kSplitTensorsKey = "split.tensors.count";

// The type that a Value holds for a type in the file: every width of integer becomes 64 bits.
template <typename T>
using Held = std::conditional_t<
    std::same_as<T, bool>, bool,
    std::conditional_t<std::floating_point<T>, double,
                       std::conditional_t<std::unsigned_integral<T>, uint64_t, int64_t>>>;

// The type of a value's bytes in the file: a bool is a byte that nobody has checked.
template <typename T>
using Wire = std::conditional_t<std::same_as<T, bool>, uint8_t, T>;

// Calls f with a zero of the C++ type that stands for a number or bool in the file. Precondition:
// `type` is one.
template <typename F>
auto with_scalar(ValueType type, F&& f) {
  switch (type) {
    case ValueType::kU8:
      return f(uint8_t{});
    case ValueType::kI8:
      return f(int8_t{});
    case ValueType::kU16:
      return f(uint16_t{});
    case ValueType::kI16:
      return f(int16_t{});
    case ValueType::kU32:
      return f(uint32_t{});
    case ValueType::kI32:
      return f(int32_t{});
    case ValueType::kF32:
      return f(float{});
    case ValueType::kBool:
      return f(bool{});
    case ValueType::kU64:
      return f(uint64_t{});
    case ValueType::kI64:
      return f(int64_t{});
    case ValueType::kF64:
      return f(double{});
    case ValueType::kString:
    case ValueType::kArray:
      break;
  }
  GEIST_CHECK(false && "not a scalar type");
}

inline bool is_scalar(ValueType type) {
  return static_cast<uint32_t>(type) <= static_cast<uint32_t>(ValueType::kF64) &&
         type != ValueType::kString && type != ValueType::kArray;
}

// Reads numbers and strings in order. A take_* that would pass the end reads nothing and returns
// false.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }

  template <typename T>
  requires(std::integral<T> || std::floating_point<T>) &&
      (!std::same_as<T, bool>)bool take(T* out) {
    if (remaining() < sizeof(T)) return false;
    std::memcpy(out, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return true;
  }

  bool take_bytes(uint64_t size, std::string_view* out) {
    if (remaining() < size) return false;
    *out = {reinterpret_cast<const char*>(bytes_.data()) + offset_, static_cast<size_t>(size)};
    offset_ += static_cast<size_t>(size);
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t offset_ = 0;
};

// A name out of a file, fit for one line of an error: quoted, control characters and invalid UTF-8
// escaped, cut when long.
std::string quote_name(std::string_view name);

}  // namespace geist::gguf
