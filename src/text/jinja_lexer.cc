#include "text/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/unicode.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_word(char32_t c) {
  if (c < 0x80)
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  return is_letter(c) || is_number(c) || is_mark(c);
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<Tokens> run() {
    while (at_ < source_.size() && error_.empty()) root();
    if (!error_.empty()) return Error{position_of(source_, error_offset_) + ": " + error_};
    add(TokenKind::kEnd, source_.size(), "");
    return std::move(tokens_);
  }

 private:
  // Data up to the next tag, then the tag.
  void root() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= source_.size())
        return data(at_, source_.size()), void(at_ = source_.size());
      const char c = source_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
    }
    const char type = source_[tag + 1];
    const size_t start = at_;
    at_ = tag + 2;
    const char sign = read_sign();
    data(start, strip_before(start, tag, sign, type != '{'));
    if (type == '#') return comment(tag);
    if (type == '%' && raw_begin()) return raw(tag);
    add(type == '{' ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, tag, source_.substr(tag, 2));
    expression(tag, type == '%');
  }

  char read_sign() {
    if (peek() != '-' && peek() != '+') return 0;
    return source_[at_++];
  }

  // Where the data before a tag ends.
  size_t strip_before(size_t start, size_t end, char sign, bool lstrip) const {
    if (sign == '-') return rstrip(start, end);
    if (sign == '+' || !lstrip) return end;
    const size_t newline = source_.substr(start, end - start).rfind('\n');
    if (newline == std::string_view::npos && !line_starting_) return end;
    const size_t line = newline == std::string_view::npos ? start : start + newline + 1;
    return rstrip(line, end) == line ? line : end;
  }

  size_t rstrip(size_t start, size_t end) const {
    while (end > start) {
      size_t before = end - 1;
      while (before > start && (static_cast<unsigned char>(source_[before]) & 0xC0) == 0x80)
        --before;
      if (!is_python_space(decode_utf8(source_, before).value)) break;
      end = before;
    }
    return end;
  }

  void skip_spaces() {
    while (at_ < source_.size()) {
      const CodePoint c = decode_utf8(source_, at_);
      if (!is_python_space(c.value)) break;
      at_ += c.length;
    }
  }

  // Consumes a closing delimiter and the whitespace that it eats; false when another text is here.
  bool close(char first, bool trims_newline, bool plus_allowed) {
    const auto ends = [&](size_t at) {
      return at + 1 < source_.size() && source_[at] == first && source_[at + 1] == '}';
    };
    if (ends(at_)) {
      at_ += 2;
      if (trims_newline && peek() == '\n') ++at_;
    } else if (peek() == '-' && ends(at_ + 1)) {
      at_ += 3;
      skip_spaces();
    } else if (plus_allowed && peek() == '+' && ends(at_ + 1)) {
      at_ += 3;
    } else {
      return false;
    }
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void comment(size_t tag) {
    for (; at_ < source_.size(); ++at_) {
      at_ = source_.find_first_of("#-+", at_);
      if (at_ == std::string_view::npos) break;
      if (close('#', true, true)) return;
    }
    fail(tag, "the comment has no end '#}'");
  }

  // After "{%" and its sign: whether this is {% raw %}, consumed if so.
  bool raw_begin() {
    const size_t back = at_;
    skip_spaces();
    if (source_.substr(at_, 3) == "raw") {
      at_ += 3;
      skip_spaces();
      if (close('%', false, false)) return true;
    }
    at_ = back;
    return false;
  }

  void raw(size_t tag) {
    const size_t start = at_;
    for (size_t end = at_;; ++end) {
      end = source_.find("{%", end);
      if (end == std::string_view::npos) break;
      at_ = end + 2;
      const char sign = read_sign();
      skip_spaces();
      if (source_.substr(at_, 6) != "endraw") continue;
      at_ += 6;
      skip_spaces();
      const size_t text_end = strip_before(start, end, sign, true);
      if (!close('%', true, true)) continue;
      return data(start, text_end);
    }
    fail(tag, "the raw block has no end '{% endraw %}'");
  }

  void expression(size_t tag, bool block) {
    while (at_ < source_.size() && error_.empty()) {
      const size_t start = at_;
      if (brackets_.empty() && close(block ? '%' : '}', block, block))
        return add(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, start,
                   source_.substr(start, 2));
      const CodePoint c = decode_utf8(source_, at_);
      if (is_python_space(c.value)) {
        at_ += c.length;
      } else if (is_digit(source_[at_])) {
        number();
      } else if (is_word(c.value)) {
        name();
      } else if (c.value == '\'' || c.value == '"') {
        string();
      } else {
        operation();
      }
    }
    fail(tag, block ? "the block has no end '%}'" : "the expression has no end '}}'");
  }

  void name() {
    const size_t start = at_;
    while (at_ < source_.size()) {
      const CodePoint c = decode_utf8(source_, at_);
      if (!is_word(c.value)) break;
      at_ += c.length;
    }
    add(TokenKind::kName, start, source_.substr(start, at_ - start));
  }

  // Digits with single underscores between them.
  void digits(std::string& out, bool (*accept)(char)) {
    while (accept(peek()) ||
           (peek() == '_' && at_ + 1 < source_.size() && accept(source_[at_ + 1]))) {
      if (peek() != '_') out += peek();
      ++at_;
    }
  }

  void number() {
    const size_t start = at_;
    std::string text;
    int base = 10;
    const char mark = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (mark == 'x' || mark == 'o' || mark == 'b')) {
      base = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
      at_ += 2;
      digits(text, [](char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); });
    } else {
      digits(text, is_digit);
      if (fraction(start, text)) return;
    }
    int64_t value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size())
      return fail(start, "bad or too large integer");
    add(TokenKind::kInteger, start, source_.substr(start, at_ - start));
    tokens_.list.back().integer = value;
  }

  // The rest of a float after its whole digits; false when there is none (1.real is an attribute).
  bool fraction(size_t start, std::string& text) {
    const size_t back = at_;
    if (start > 0 && source_[start - 1] == '.') return false;
    bool real = false;
    if (peek() == '.' && at_ + 1 < source_.size() && is_digit(source_[at_ + 1])) {
      text += '.';
      ++at_;
      digits(text, is_digit);
      real = true;
    }
    const size_t before_exponent = at_;
    if ((peek() | 0x20) == 'e') {
      std::string exponent = "e";
      ++at_;
      if (peek() == '+' || peek() == '-') exponent += source_[at_++];
      if (is_digit(peek())) {
        digits(exponent, is_digit);
        text += exponent;
        real = true;
      } else {
        at_ = before_exponent;
      }
    }
    if (!real) return at_ = back, false;
    double value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    // Infinite or 0, as in Python.
    if (end.ec == std::errc::result_out_of_range) value = std::strtod(text.c_str(), nullptr);
    add(TokenKind::kFloat, start, source_.substr(start, at_ - start));
    tokens_.list.back().real = value;
    return true;
  }

  void string() {
    const size_t start = at_;
    const char quote = source_[at_++];
    bool escaped = false;
    while (at_ < source_.size() && source_[at_] != quote) {
      if (source_[at_] == '\\') escaped = true, ++at_;
      ++at_;
    }
    if (at_ >= source_.size()) return fail(start, "the string has no end");
    std::string_view text = source_.substr(start + 1, at_ - start - 1);
    ++at_;
    if (escaped) text = unescape(start, text);
    add(TokenKind::kString, start, text);
  }

  std::string_view unescape(size_t start, std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      if (text[i] != '\\') {
        out += text[i++];
      } else if (!escape(text, &i, out)) {
        fail(start, "bad escape in the string");
        break;
      }
    }
    return tokens_.owned.emplace_back(std::move(out));
  }

  // Python's escapes; an unknown one stays as it is, with its backslash.
  static bool escape(std::string_view text, size_t* i, std::string& out) {
    static constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = text[*i + 1];
    *i += 2;
    if (const size_t k = kLetters.find(c); k != std::string_view::npos)
      return out += kMeanings[k], true;
    if (c == '\n') return true;
    size_t length = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    int base = 16;
    if (c >= '0' && c <= '7') {
      base = 8;
      --*i;
      while (length < 3 && *i + length < text.size() && text[*i + length] >= '0' &&
             text[*i + length] <= '7')
        ++length;
    }
    if (length == 0) {
      out += '\\';
      out += c;
      return c != 'N';  // named characters are not known here
    }
    unsigned code = 0;
    const std::string_view digits = text.substr(*i, length);
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
    if (digits.size() != length || end.ptr != digits.data() + length || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000))
      return false;
    append_utf8(out, code);
    *i += length;
    return true;
  }

  void operation() {
    static constexpr std::string_view kLong[] = {"//", "**", "==", "!=", ">=", "<="};
    const size_t start = at_;
    std::string_view text = source_.substr(at_, 2);
    if (std::find(std::begin(kLong), std::end(kLong), text) == std::end(kLong))
      text = source_.substr(at_, 1);
    const char c = text[0];
    if (text.size() == 1 &&
        std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos)
      return fail(start, "unexpected character");
    if (c == '(' || c == '[' || c == '{') brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) return fail(start, "unbalanced bracket");
      brackets_.pop_back();
    }
    at_ += text.size();
    add(TokenKind::kOperator, start, text);
  }

  void data(size_t start, size_t end) {
    if (end > start) add(TokenKind::kData, start, source_.substr(start, end - start));
  }
  void add(TokenKind kind, size_t offset, std::string_view text) {
    tokens_.list.push_back({kind, text, offset});
  }
  void fail(size_t offset, const char* what) {
    if (!error_.empty()) return;
    error_ = what;
    error_offset_ = offset;
    at_ = source_.size();
  }
  char peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }

  std::string_view source_;
  size_t at_ = 0;
  bool line_starting_ = true;
  std::string brackets_;  // what closes the open ones
  Tokens tokens_;
  std::string error_;
  size_t error_offset_ = 0;
};

}  // namespace

std::string normalize_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

Result<Tokens> tokenize(std::string_view source) { return Lexer(source).run(); }

int line_of(std::string_view source, size_t offset) {
  const auto before = source.substr(0, offset);
  return 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
}

std::string position_of(std::string_view source, size_t offset) {
  const size_t newline = source.substr(0, offset).rfind('\n');
  const size_t column = newline == std::string_view::npos ? offset + 1 : offset - newline;
  return "line " + std::to_string(line_of(source, offset)) + ", column " + std::to_string(column);
}

}  // namespace geist::text::jinja
