// What the pre-tokenizers' matchers read: the classes of characters, and a piece of the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/unicode.h"

namespace geist::text::pre_tokenizer {

enum Class : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kSpace = 4,
  kPunct = 8,
  kSymbol = 16,
  kMark = 32,
  kUpper = 64,
  kLower = 128,
};

inline uint8_t classify(char32_t c) {
  uint8_t k = 0;
  if (is_letter(c)) k |= kLetter;
  if (is_number(c)) k |= kNumber;
  if (is_space(c)) k |= kSpace;
  if (is_punctuation(c)) k |= kPunct;
  if (is_symbol(c)) k |= kSymbol;
  if (is_mark(c)) k |= kMark;
  if (is_uppercase(c) || is_titlecase(c)) k |= kUpper;
  if (is_lowercase(c)) k |= kLower;
  return k;
}

// The classes of the two planes in use, 128 KB made once; the rest is asked of the Unicode library.
class ClassTable {
 public:
  ClassTable() : storage_(kSize), table_(storage_.data()) {
    for (size_t c = 0; c < kSize; ++c) storage_[c] = classify(static_cast<char32_t>(c));
  }
  ClassTable(const ClassTable&) = delete;
  uint8_t of(char32_t c) const { return c < kSize ? table_[c] : classify(c); }
  uint8_t of_ascii(unsigned char c) const { return table_[c]; }

 private:
  static constexpr size_t kSize = 0x20000;
  std::vector<uint8_t> storage_;
  const uint8_t* table_;
};

inline const ClassTable& class_table() {
  static const ClassTable table;
  return table;
}

struct Char {
  char32_t value = 0xFFFFFFFF;
  uint8_t length = 0;  // 0: past the end
  uint8_t kind = 0;
  bool is(int mask) const { return (kind & mask) != 0; }
  bool exists() const { return length != 0; }
};

// A set of bytes: some ASCII characters, and all bytes beyond ASCII.
class ByteSet {
 public:
  template <typename Test>
  constexpr explicit ByteSet(const Test& test) : has_{} {
    for (unsigned byte = 0; byte < 256; ++byte) has_[byte] = byte >= 0x80 || test(byte) ? 1 : 0;
  }
  bool has(char c) const { return of(&c) != 0; }
  bool has_ascii(char c) const { return has(c) && static_cast<signed char>(c) >= 0; }
  // The first byte of the set in [from, to), or `to`.
  size_t find(std::string_view text, size_t from, size_t to) const {
    const char* p = text.data();
    while (to - from >= 8 &&
           (of(p + from) | of(p + from + 1) | of(p + from + 2) | of(p + from + 3) |
            of(p + from + 4) | of(p + from + 5) | of(p + from + 6) | of(p + from + 7)) == 0)
      from += 8;
    while (from < to && !has(p[from])) ++from;
    return from;
  }

 private:
  unsigned of(const char* p) const { return has_[static_cast<unsigned char>(*p)]; }
  uint8_t has_[256];
};

// A piece of the text under one pass. It counts how many characters were looked at, so that the
// pass can assert that its time is linear.
class Piece {
 public:
  Piece(std::string_view text, size_t end, const ClassTable& table)
      : data_(text.data()), end_(end), table_(table) {}
  size_t end() const { return end_; }
  size_t looks() const { return looks_; }
  Char at(size_t i) const {
    if (i >= end_) return {};
    ++looks_;
    const auto byte = static_cast<unsigned char>(data_[i]);
    if (byte < 0x80) return {byte, 1, table_.of(byte)};
    const CodePoint point = decode_utf8({data_, end_}, i);
    return {point.value, point.length, table_.of(point.value)};
  }
  unsigned char byte(size_t i) const { return i < end_ ? static_cast<unsigned char>(data_[i]) : 0; }
  // The end of the run of characters for which test(Char) holds.
  template <typename Test>
  size_t run(size_t i, const Test& test) const {
    for (Char c = at(i); c.exists() && test(c); c = at(i)) i += c.length;
    return i;
  }
  // The same where the ASCII characters are those of a set and beyond ASCII test(Char) decides.
  template <typename Test>
  size_t run_of_set(size_t i, const ByteSet& ascii, const Test& test) const {
    for (;;) {
      const size_t start = i;
      while (i < end_ && ascii.has_ascii(data_[i])) ++i;
      looks_ += i - start;
      if (i == end_ || static_cast<signed char>(data_[i]) >= 0) return i;
      const Char c = at(i);
      if (!test(c)) return i;
      i += c.length;
    }
  }
  // The end of the run of characters of any of the classes, or of none of them. Most text is ASCII
  // and most time is spent here.
  size_t run_of(size_t i, int mask) const { return run_where(i, mask, true); }
  size_t run_of_other(size_t i, int mask) const { return run_where(i, mask, false); }
  // At most `limit` characters.
  size_t run_of(size_t i, int mask, int limit) const {
    for (Char c = at(i); limit > 0 && c.is(mask); c = at(i), --limit) i += c.length;
    return i;
  }

 private:
  size_t run_where(size_t i, int mask, bool want) const {
    for (;;) {
      const size_t start = i;
      while (i < end_ && static_cast<signed char>(data_[i]) >= 0 &&
             ((table_.of_ascii(static_cast<unsigned char>(data_[i])) & mask) != 0) == want)
        ++i;
      looks_ += i - start;
      if (i == end_ || static_cast<signed char>(data_[i]) >= 0) return i;
      const Char c = at(i);
      if (c.is(mask) != want) return i;
      i += c.length;
    }
  }

  const char* data_;
  size_t end_;
  const ClassTable& table_;
  mutable size_t looks_ = 0;
};

constexpr bool is_newline(unsigned byte) { return byte == '\r' || byte == '\n'; }
constexpr bool is_ascii_upper(unsigned byte) { return byte >= 'A' && byte <= 'Z'; }
constexpr bool is_ascii_lower(unsigned byte) { return byte >= 'a' && byte <= 'z'; }
constexpr bool is_ascii_letter(unsigned byte) {
  return is_ascii_upper(byte) || is_ascii_lower(byte);
}
constexpr bool is_ascii_digit(unsigned byte) { return byte >= '0' && byte <= '9'; }
constexpr bool is_ascii_punctuation(unsigned byte) {
  return byte > 0x20 && byte < 0x7F && !is_ascii_letter(byte) && !is_ascii_digit(byte);
}

}  // namespace geist::text::pre_tokenizer
