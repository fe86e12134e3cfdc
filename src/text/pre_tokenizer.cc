#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <string>

#include "base/unicode.h"
#include "text/tokenizer_check.h"

// Each matcher takes a position and gives the end of the match that starts there, or the position
// itself when nothing matches. run_pass() turns a matcher into cuts: matches become pieces and so
// does what lies between them. Every matcher looks at a character a bounded number of times over a
// whole pass.

namespace geist::text {
namespace {

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

uint8_t classify(char32_t c) {
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

const ClassTable& class_table() {
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

// A piece of the text under one pass.
class Piece {
 public:
  Piece(std::string_view text, size_t end, const ClassTable& table)
      : data_(text.data()), end_(end), table_(table) {}
  size_t end() const { return end_; }
  Char at(size_t i) const {
    if (i >= end_) return {};
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
      while (i < end_ && static_cast<signed char>(data_[i]) >= 0 &&
             ((table_.of_ascii(static_cast<unsigned char>(data_[i])) & mask) != 0) == want)
        ++i;
      if (i == end_ || static_cast<signed char>(data_[i]) >= 0) return i;
      const Char c = at(i);
      if (c.is(mask) != want) return i;
      i += c.length;
    }
  }

  const char* data_;
  size_t end_;
  const ClassTable& table_;
};

bool is_newline(unsigned char byte) { return byte == '\r' || byte == '\n'; }

// 's|'t|'re|'ve|'m|'ll|'d
size_t contraction(const Piece& p, size_t i, bool any_case) {
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
size_t white_space(const Piece& p, size_t i, bool newlines) {
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
size_t match_gpt2(const Piece& p, size_t i) {
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
size_t symbols(const Piece& p, size_t i, int not_in, unsigned char tail) {
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
bool is_u(Char c) { return c.is(kLetter | kMark) && !c.is(kLower); }
bool is_l(Char c) { return c.is(kLetter | kMark) && !c.is(kUpper); }

// U*L+ by backtracking: all of U* and the lower case behind it, or U* up to its last caseless
// character, which then is L+.
size_t case_lower(const Piece& p, size_t i) {
  size_t end = i, caseless_end = i;
  for (Char c = p.at(i); c.exists() && is_u(c); c = p.at(end)) {
    end += c.length;
    if (!c.is(kUpper)) caseless_end = end;
  }
  const size_t lower_end = p.run(end, is_l);
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

bool is_ascii_letter(unsigned char byte) { return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'; }
bool is_ascii_punctuation(unsigned char byte) {
  return byte > 0x20 && byte < 0x7F && !is_ascii_letter(byte) && !(byte >= '0' && byte <= '9');
}

// [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
// ?[\p{P}\p{S}]+[\r\n]*| \s*[\r\n]+|\s+(?!\S)|\s+
size_t match_deepseek3(const Piece& p, size_t i) {
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

size_t match_ascii_digits3(const Piece& p, size_t i) {
  const auto digit = [&](size_t k) { return p.byte(k) >= '0' && p.byte(k) <= '9'; };
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

size_t match_newline(const Piece& p, size_t i) { return is_newline(p.byte(i)) ? i + 1 : i; }

template <typename Test>
size_t match_spaced(const Piece& p, size_t i, const Test& test) {
  const Char c = p.at(i);
  const size_t start = c.is(kSpace) ? i + c.length : i;
  const size_t end = p.run(start, test);
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

size_t match_cased_letters(const Piece& p, size_t i) {
  return match_spaced(p, i, [](Char c) { return in_ranges(kCasedLetterRanges, c.value); });
}

// \s?[!-/:-~！-／：-～‘-‟　-。]+
size_t match_deepseek_symbols(const Piece& p, size_t i) {
  static constexpr Range kRanges[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0x2018, 0x201F},
                                      {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
  const auto test = [](Char c) { return in_ranges(kRanges, c.value); };
  // U+3000 is white space too: taken as the optional space it may leave nothing behind it, so try
  // without.
  if (const size_t end = match_spaced(p, i, test); end > i) return end;
  return p.run(i, test);
}

size_t match_cjk(const Piece& p, size_t i) {
  return p.run(i, [](Char c) {
    return (c.value >= 0x800 && c.value <= 0x9FA5) || (c.value >= 0xAC00 && c.value <= 0xD7FF);
  });
}

size_t match_kana(const Piece& p, size_t i) {
  return p.run(i, [](Char c) {
    return (c.value >= 0x4E00 && c.value <= 0x9FA5) || (c.value >= 0x3040 && c.value <= 0x30FF);
  });
}

//  ?[^(\s|.,!?…。，、।۔،)]+
size_t match_bloom(const Piece& p, size_t i) {
  const size_t start = p.byte(i) == ' ' ? i + 1 : i;
  const size_t end = p.run(start, [](Char c) {
    switch (c.value) {
      case '(':
      case '|':
      case '.':
      case ',':
      case '!':
      case '?':
      case ')':
      case 0x2026:
      case 0x3002:
      case 0xFF0C:
      case 0x3001:
      case 0x964:
      case 0x6D4:
      case 0x60C:
        return false;
      default:
        return !c.is(kSpace);
    }
  });
  return end > start ? end : i;
}

using Words = std::function<void(std::span<const size_t>)>;

// Where a pass puts the ends of its pieces: they go on in batches that fit the cache, to the next
// pass or to the caller.
class Ends {
 public:
  explicit Ends(const Words& next) : next_(next) {}
  void add(size_t end) {
    batch_[count_++] = end;
    if (count_ == batch_.size()) flush();
  }
  void flush() {
    if (count_ > 0) next_(std::span(batch_).first(count_));
    count_ = 0;
  }

 private:
  const Words& next_;
  std::array<size_t, 512> batch_;
  size_t count_ = 0;
};

// The pieces of the pass before: the first begins at `begin`, each ends where the next begins.
struct PieceList {
  size_t begin;
  std::span<const size_t> ends;
};

// Which ASCII bytes a match can begin with: the passes that look for little skip over the rest.
bool any_byte(unsigned char) { return true; }
bool no_byte(unsigned char) { return false; }
bool digit_byte(unsigned char byte) { return byte >= '0' && byte <= '9'; }
bool mark_byte(unsigned char byte) { return !is_ascii_letter(byte) && !digit_byte(byte); }

template <size_t (*match)(const Piece&, size_t), bool (*may_start)(unsigned char) = any_byte>
void run_pass(std::string_view text, PieceList in, Ends& out) {
  const ClassTable& table = class_table();
  size_t begin = in.begin;
  for (const size_t piece_end : in.ends) {
    const Piece piece(text, piece_end, table);
    size_t gap = begin;  // where unmatched text began
    for (size_t i = begin; i < piece_end;) {
      if (const unsigned char byte = piece.byte(i); byte < 0x80 && !may_start(byte)) {
        ++i;
        continue;
      }
      const size_t end = match(piece, i);
      if (end == i) {
        i += piece.at(i).length;
        continue;
      }
      if (gap < i) out.add(i);
      out.add(end);
      gap = i = end;
    }
    if (gap < piece_end) out.add(piece_end);
    begin = piece_end;
  }
}

// \s+$
void cut_trailing_space(std::string_view text, PieceList in, Ends& out) {
  const ClassTable& table = class_table();
  size_t begin = in.begin;
  for (const size_t end : in.ends) {
    const Piece piece(text, end, table);
    size_t space = begin;  // where the white space at the end begins
    for (size_t i = begin; i < end;) {
      const Char c = piece.at(i);
      i += c.length;
      if (!c.is(kSpace)) space = i;
    }
    if (space > begin && space < end) out.add(space);
    out.add(end);
    begin = end;
  }
}

void run_cut(Cut cut, std::string_view text, PieceList in, Ends& out) {
  switch (cut) {
    case Cut::kGpt2:
      return run_pass<match_gpt2>(text, in, out);
    case Cut::kLlama3:
      return run_pass<match_llama3<3, kLetter>>(text, in, out);
    case Cut::kQwen2:
      return run_pass<match_llama3<1, kLetter>>(text, in, out);
    case Cut::kQwen35:
      return run_pass<match_llama3<1, kLetter | kMark>>(text, in, out);
    case Cut::kGpt4o:
      return run_pass<match_case<3, true>>(text, in, out);
    case Cut::kTekken:
      return run_pass<match_case<1, false>>(text, in, out);
    case Cut::kDeepSeek3:
      return run_pass<match_deepseek3>(text, in, out);
    case Cut::kDigits1:
      return run_pass<match_class<kNumber, 1>, digit_byte>(text, in, out);
    case Cut::kDigits3:
      return run_pass<match_class<kNumber, 3>, digit_byte>(text, in, out);
    case Cut::kDigitRuns:
      return run_pass<match_class<kNumber, 0>, digit_byte>(text, in, out);
    case Cut::kAsciiDigits3:
      return run_pass<match_ascii_digits3, digit_byte>(text, in, out);
    case Cut::kPunctuation:
      return run_pass<match_punctuation<false>, mark_byte>(text, in, out);
    case Cut::kPunctuationTick:
      return run_pass<match_punctuation<true>, mark_byte>(text, in, out);
    case Cut::kNewlines:
      return run_pass<match_newline, is_newline>(text, in, out);
    case Cut::kSpacedLetters:
      return run_pass<match_spaced_class<kLetter>>(text, in, out);
    case Cut::kSpacedPunctuation:
      return run_pass<match_spaced_class<kPunct>, mark_byte>(text, in, out);
    case Cut::kCasedLetters:
      return run_pass<match_cased_letters>(text, in, out);
    case Cut::kDeepSeekSymbols:
      return run_pass<match_deepseek_symbols>(text, in, out);
    case Cut::kTrailingSpace:
      return cut_trailing_space(text, in, out);
    case Cut::kCjk:
      return run_pass<match_cjk, no_byte>(text, in, out);
    case Cut::kKana:
      return run_pass<match_kana, no_byte>(text, in, out);
    case Cut::kBloom:
      return run_pass<match_bloom>(text, in, out);
  }
}

// Runs the passes from the first of `cuts` on. begins[k] is how far pass k has come.
void run_passes(std::span<const Cut> cuts, std::string_view text, std::span<const size_t> ends,
                std::span<size_t> begins, const Words& words) {
  if (cuts.empty()) return words(ends);
  const Words next = [&](std::span<const size_t> batch) {
    run_passes(cuts.subspan(1), text, batch, begins.subspan(1), words);
  };
  Ends out(cuts.size() == 1 ? words : next);
  run_cut(cuts.front(), text, {begins.front(), ends}, out);
  out.flush();
  begins.front() = ends.back();
}

struct Name {
  std::string_view name;
  std::vector<Cut> cuts;
};

const std::vector<Name>& names() {
  using enum Cut;
  static const std::vector<Cut> gpt2 = {kGpt2}, llama3 = {kLlama3}, qwen2 = {kQwen2},
                                gpt4o = {kGpt4o}, digits_gpt2 = {kDigits1, kGpt2},
                                deepseek3 = {kDigits3, kKana, kDeepSeek3}, bloom = {kBloom};
  static const std::vector<Name> table = {
      {"default", {kPunctuation, kGpt2, kDigitRuns, kAsciiDigits3}},
      {"gpt-2", gpt2},
      {"phi-2", gpt2},
      {"jina-es", gpt2},
      {"jina-de", gpt2},
      {"jina-v1-en", gpt2},
      {"jina-v2-es", gpt2},
      {"jina-v2-de", gpt2},
      {"jina-v2-code", gpt2},
      {"roberta-bpe", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"jais", gpt2},
      {"trillion", gpt2},
      {"granite-docling", gpt2},
      {"gigachat", gpt2},
      {"a.x-4.0", gpt2},
      {"mellum", gpt2},
      {"modern-bert", gpt2},
      {"exaone4", gpt2},
      {"llama3", llama3},
      {"llama-v3", llama3},
      {"llama-bpe", llama3},
      {"falcon3", llama3},
      {"falcon-h1", llama3},
      {"pixtral", llama3},
      {"midm-2.0", llama3},
      {"lfm2", llama3},
      {"dbrx", llama3},
      {"smaug-bpe", llama3},
      {"chatglm-bpe", llama3},
      {"glm4", llama3},
      {"qwen2", qwen2},
      {"deepseek-r1-qwen", qwen2},
      {"stablelm2", qwen2},
      {"hunyuan", qwen2},
      {"megrez", qwen2},
      {"grok-2", qwen2},
      {"solar-open", qwen2},
      {"qwen35", {kQwen35}},
      {"deepseek-llm",
       {kNewlines, kCasedLetters, kDeepSeekSymbols, kTrailingSpace, kCjk, kDigitRuns}},
      {"deepseek-coder", {kNewlines, kSpacedLetters, kSpacedPunctuation, kCjk, kDigits1}},
      {"deepseek-v3", deepseek3},
      {"hunyuan-dense", deepseek3},
      {"falcon", {kPunctuationTick, kGpt2, kAsciiDigits3}},
      {"starcoder", digits_gpt2},
      {"refact", digits_gpt2},
      {"command-r", digits_gpt2},
      {"smollm", digits_gpt2},
      {"codeshell", digits_gpt2},
      {"exaone", digits_gpt2},
      {"minerva-7b", digits_gpt2},
      {"mellum2", digits_gpt2},
      {"bloom", bloom},
      {"poro-chat", bloom},
      {"gpt3-finnish", bloom},
      {"viking", {kBloom, kDigits1}},
      {"tekken", {kTekken}},
      {"gpt-4o", gpt4o},
      {"llama4", gpt4o},
      {"kanana2", gpt4o},
      {"minimax-m2", gpt4o},
  };
  return table;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::by_name(std::string_view name) {
  if (name.empty()) name = "default";
  for (const Name& known : names())
    if (known.name == name) return PreTokenizer(known.cuts);
  return errorf("tokenizer: the pre-tokenizer '%s' is not known; a newer geist may support it",
                shown(name).c_str());
}

bool PreTokenizer::adds_bos(std::string_view name) { return ignores_merges(name); }

bool PreTokenizer::ignores_merges(std::string_view name) {
  static constexpr std::string_view kNames[] = {"llama3",   "llama-v3",  "llama-bpe",
                                                "falcon3",  "falcon-h1", "pixtral",
                                                "midm-2.0", "lfm2",      "tekken"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::span<const size_t>)>& words) const {
  if (text.empty()) return;
  const size_t whole[] = {text.size()};
  std::vector<size_t> begins(cuts_.size());
  run_passes(cuts_, text, whole, begins, words);
}

}  // namespace geist::text
