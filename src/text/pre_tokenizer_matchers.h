// The matchers of the pre-tokenizers. Each takes a position and gives the end of the match that
// starts there, or the position itself when nothing matches. Every matcher looks at a character a
// bounded number of times over a whole pass.
#pragma once

#include <algorithm>
#include <iterator>

#include "text/pre_tokenizer_piece.h"

namespace geist::text::pre_tokenizer {

// 's|'t|'re|'ve|'m|'ll|'d
inline size_t contraction(const Piece& p, size_t i, bool any_case) {
  if (p.byte(i) != '\'') return i;
  const unsigned char fold = any_case ? 0x20 : 0;
  // Only letters may be folded: '\x13' | 0x20 is '3', never one of the letters looked for.
  const auto letter = [&](size_t k) {
    const unsigned char byte = p.byte(k);
    return byte >= 'A' && byte <= 'Z' ? static_cast<unsigned char>(byte | fold) : byte;
  };
  const unsigned char a = letter(i + 1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
  const unsigned char b = letter(i + 2);
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
  return i;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ : through the last newline of the run; else all but the last character
// when something follows; else all. Without `newlines` the first alternative is absent.
inline size_t white_space(const Piece& p, size_t i, bool newlines) {
  size_t end = i, last = i, after_newline = i;
  for (Char c = p.at(i); c.is(kSpace); c = p.at(end)) {
    last = end;
    end += c.length;
    if (c.value == '\r' || c.value == '\n') after_newline = end;
  }
  if (newlines && after_newline > i) return after_newline;
  return last > i && end < p.end() ? last : end;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
inline size_t match_gpt2(const Piece& p, size_t i) {
  if (p.byte(i) == '\'')
    if (const size_t end = contraction(p, i, false); end > i) return end;
  const size_t start = p.byte(i) == ' ' ? i + 1 : i;
  const Char c = p.at(start);
  if (c.is(kLetter)) return p.run_of(start, kLetter);
  if (c.is(kNumber)) return p.run_of(start, kNumber);
  if (c.exists() && !c.is(kSpace)) return p.run_of_other(start, kSpace | kLetter | kNumber);
  return white_space(p, i, false);
}

//  ?[^\s\p{L}\p{N}]+[\r\n]* , with `tail` a further character that may follow
inline size_t symbols(const Piece& p, size_t i, int not_in, unsigned char tail) {
  const size_t start = p.byte(i) == ' ' ? i + 1 : i;
  size_t end = p.run_of_other(start, not_in);
  if (end == start) return i;
  while (end < p.end() && (is_newline(p.byte(end)) || (tail != 0 && p.byte(end) == tail))) ++end;
  return end;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+| \s+(?!\S)|\s+ ; qwen2: \p{N}; qwen3.5: [\p{L}\p{M}]+ and
// [^\s\p{L}\p{M}\p{N}]+
template <int digits, int word>
size_t match_llama3(const Piece& p, size_t i) {
  if (p.byte(i) == '\'')
    if (const size_t end = contraction(p, i, true); end > i) return end;
  const Char c = p.at(i);
  if (c.is(word)) {
    return p.run_of(i, word);
  } else if (c.is(kNumber)) {
    return p.run_of(i, kNumber, digits);
  } else if (!is_newline(p.byte(i))) {
    if (const size_t start = i + c.length; p.at(start).is(word)) return p.run_of(start, word);
  }
  if (const size_t end = symbols(p, i, kSpace | kNumber | word, 0); end > i) return end;
  return white_space(p, i, true);
}

// Words by case. With U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]: U*L+ ,
// then U+L* .
inline bool is_u(Char c) { return c.is(kLetter | kMark) && !c.is(kLower); }
inline bool is_l(Char c) { return c.is(kLetter | kMark) && !c.is(kUpper); }

// U*L+ by backtracking: all of U* and the lower case behind it, or U* up to its last caseless
// character, which then is L+.
inline size_t case_lower(const Piece& p, size_t i) {
  static constexpr ByteSet kAsciiUpper(is_ascii_upper), kAsciiLower(is_ascii_lower);
  const auto none = [](Char) { return false; };
  size_t end = p.run_of_set(i, kAsciiUpper, none), caseless_end = i;
  for (Char c = p.at(end); c.exists() && is_u(c); c = p.at(end)) {
    end += c.length;
    if (!c.is(kUpper)) caseless_end = end;
    end = p.run_of_set(end, kAsciiUpper, none);
  }
  const size_t lower_end = p.run_of_set(end, kAsciiLower, is_l);
  return lower_end > end ? lower_end : caseless_end;
}

template <int digits, bool contractions>
size_t match_case(const Piece& p, size_t i) {
  const Char c = p.at(i);
  const bool prefix = !c.is(kLetter | kNumber) && !is_newline(p.byte(i));
  const size_t start = prefix ? i + c.length : i;
  size_t word = start, from = start;
  if (word = case_lower(p, from); word == from && prefix) word = case_lower(p, from = i);
  if (word == from) word = p.run(from = start, is_u);
  if (word == from && prefix) word = p.run(from = i, is_u);
  if (word > from) return contractions ? contraction(p, word, true) : word;
  if (c.is(kNumber)) return p.run_of(i, kNumber, digits);
  if (const size_t end = symbols(p, i, kSpace | kLetter | kNumber, '/'); end > i) return end;
  return white_space(p, i, true);
}

// [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
// ?[\p{P}\p{S}]+[\r\n]*| \s*[\r\n]+|\s+(?!\S)|\s+
inline size_t match_deepseek3(const Piece& p, size_t i) {
  if (is_ascii_punctuation(p.byte(i)) && is_ascii_letter(p.byte(i + 1)))
    return p.run(i + 1, [](Char c) { return c.value < 0x80 && c.is(kLetter); });
  const Char c = p.at(i);
  if (!c.is(kLetter | kPunct | kSymbol) && !is_newline(p.byte(i))) {
    if (const size_t start = i + c.length; p.at(start).is(kLetter | kMark))
      return p.run_of(start, kLetter | kMark);
  }
  if (c.is(kLetter | kMark)) return p.run_of(i, kLetter | kMark);
  const size_t start = c.value == ' ' ? i + 1 : i;
  if (p.at(start).is(kPunct | kSymbol)) {
    const size_t end = p.run_of(start, kPunct | kSymbol);
    return p.run(end, [](Char d) { return d.value == '\r' || d.value == '\n'; });
  }
  return white_space(p, i, true);
}

template <int mask, int limit>
size_t match_class(const Piece& p, size_t i) {
  return limit == 0 ? p.run_of(i, mask) : p.run_of(i, mask, limit);
}

inline size_t match_ascii_digits3(const Piece& p, size_t i) {
  const auto digit = [&](size_t k) { return is_ascii_digit(p.byte(k)); };
  return digit(i) && digit(i + 1) && digit(i + 2) ? i + 3 : i;
}

// [\p{P}$+<=>^~|]+
template <bool tick>
size_t match_punctuation(const Piece& p, size_t i) {
  return p.run(i, [](Char c) {
    if (c.is(kPunct)) return true;
    if (c.value >= 0x80 || !c.is(kSymbol)) return false;
    return tick || c.value != '`';  // the ASCII symbols are $ + < = > ^ ` | ~
  });
}

inline size_t match_newline(const Piece& p, size_t i) { return is_newline(p.byte(i)) ? i + 1 : i; }

template <typename Test>
size_t match_spaced(const Piece& p, size_t i, const ByteSet& ascii, const Test& test) {
  const Char c = p.at(i);
  const size_t start = c.is(kSpace) ? i + c.length : i;
  const size_t end = p.run_of_set(start, ascii, test);
  return end > start ? end : i;
}

template <int mask>
size_t match_spaced_class(const Piece& p, size_t i) {
  const Char c = p.at(i);
  const size_t start = c.is(kSpace) ? i + c.length : i;
  const size_t end = p.run_of(start, mask);
  return end > start ? end : i;
}

struct Range {
  char32_t first, last;
};

template <size_t n>
bool in_ranges(const Range (&ranges)[n], char32_t c) {
  const Range* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), c,
                       [](char32_t value, const Range& r) { return value < r.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

// The letters that DeepSeek-LLM's pattern lists, in order.
constexpr Range kCasedLetterRanges[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
    {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x376},     {0x377, 0x377},
    {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
    {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},
    {0x48A, 0x52F},     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},
    {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
    {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},
    {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},
    {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},
    {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},
    {0x2184, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},
    {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},
    {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},
    {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
    {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};

inline size_t match_cased_letters(const Piece& p, size_t i) {
  static constexpr ByteSet kLetters(is_ascii_letter);
  return match_spaced(p, i, kLetters,
                      [](Char c) { return in_ranges(kCasedLetterRanges, c.value); });
}

// \s?[!-/:-~！-／：-～‘-‟　-。]+
inline size_t match_deepseek_symbols(const Piece& p, size_t i) {
  static constexpr Range kRanges[] = {
      {0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
  static constexpr ByteSet kAscii(
      [](unsigned byte) { return (byte >= '!' && byte <= '/') || (byte >= ':' && byte <= '~'); });
  const auto test = [](Char c) { return in_ranges(kRanges, c.value); };
  // U+3000 is white space too: taken as the optional space it may leave nothing behind it, so try
  // without.
  if (const size_t end = match_spaced(p, i, kAscii, test); end > i) return end;
  return p.run_of_set(i, kAscii, test);
}

inline size_t match_cjk(const Piece& p, size_t i) {
  return p.run(i, [](Char c) {
    return (c.value >= 0x800 && c.value <= 0x9FA5) || (c.value >= 0xAC00 && c.value <= 0xD7FF);
  });
}

inline size_t match_kana(const Piece& p, size_t i) {
  return p.run(i, [](Char c) {
    return (c.value >= 0x4E00 && c.value <= 0x9FA5) || (c.value >= 0x3040 && c.value <= 0x30FF);
  });
}

//  ?[^(\s|.,!?…。，、।۔،)]+
inline size_t match_bloom(const Piece& p, size_t i) {
  const size_t start = p.byte(i) == ' ' ? i + 1 : i;
  static constexpr ByteSet kAscii([](unsigned byte) {
    return byte != ' ' && (byte < 9 || byte > 13) &&
           std::string_view("(|.,!?)").find(static_cast<char>(byte)) == std::string_view::npos;
  });
  const size_t end = p.run_of_set(start, kAscii, [](Char c) {
    static constexpr char32_t kNot[] = {0x60C, 0x6D4, 0x964, 0x2026, 0x3001, 0x3002, 0xFF0C};
    return !c.is(kSpace) && !std::binary_search(std::begin(kNot), std::end(kNot), c.value);
  });
  return end > start ? end : i;
}

}  // namespace geist::text::pre_tokenizer
