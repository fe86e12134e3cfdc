#include "text/jinja_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/unicode.h"
#include "text/jinja_format.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

class JsonParser {
 public:
  JsonParser(Heap& heap, std::string_view text) : heap_(heap), text_(text) {}

  Value document() {
    const Value value = element();
    skip_space();
    if (at_ != text_.size()) error("text after the value");
    return value;
  }

 private:
  Value element() {
    const Nesting nesting(heap_, "the context");
    if (!nesting || !heap_.spend(1)) return {};
    skip_space();
    switch (peek()) {
      case '{':
        return object();
      case '[':
        return array();
      case '"':
        return Value::string(string());
      case 't':
        return literal("true", Value::boolean(true));
      case 'f':
        return literal("false", Value::boolean(false));
      case 'n':
        return literal("null", Value::none());
      default:
        return number();
    }
  }

  Value object() {
    Dict* const dict = heap_.make<Dict>();
    ++at_;
    skip_space();
    if (peek() == '}') return ++at_, Value::of(Kind::kDict, dict);
    while (!heap_.failed()) {
      skip_space();
      if (peek() != '"') return error("expected a key in quotes");
      const Value key = Value::string(string());
      skip_space();
      if (peek() != ':') return error("expected ':'");
      ++at_;
      dict->set(heap_, key, element());
      skip_space();
      if (peek() == '}') return ++at_, Value::of(Kind::kDict, dict);
      if (peek() != ',') return error("expected ',' or '}'");
      ++at_;
    }
    return {};
  }

  Value array() {
    List* const list = heap_.make<List>();
    ++at_;
    skip_space();
    if (peek() == ']') return ++at_, Value::of(Kind::kList, list);
    while (!heap_.failed()) {
      list->push(heap_, element());
      skip_space();
      if (peek() == ']') return ++at_, Value::of(Kind::kList, list);
      if (peek() != ',') return error("expected ',' or ']'");
      ++at_;
    }
    return {};
  }

  std::string_view string() {
    const size_t start = ++at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20)
      ++at_;
    heap_.spend_bytes(at_ - start);
    if (peek() == '"') return text_.substr(start, at_++ - start);
    std::string out(text_.substr(start, at_ - start));
    while (!heap_.failed()) {
      const char c = peek();
      if (c == '"') {
        ++at_;
        return heap_.copy(out);
      }
      if (static_cast<unsigned char>(c) < 0x20) {
        error(at_ >= text_.size() ? "unterminated string" : "control character in a string");
      } else if (c == '\\') {
        ++at_;
        escape(out);
      } else {
        const size_t from = at_;
        while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
               static_cast<unsigned char>(text_[at_]) >= 0x20)
          ++at_;
        put(heap_, out, text_.substr(from, at_ - from));
      }
    }
    return {};
  }

  void escape(std::string& out) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char c = peek();
    ++at_;
    if (const size_t i = kLetters.find(c); i != std::string_view::npos && c != '\0') {
      out += kMeanings[i];
    } else if (c == 'u') {
      char32_t code = hex4();
      if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
        const size_t back = at_;
        at_ += 2;
        const char32_t low = hex4();
        if (low >= 0xDC00 && low < 0xE000) {
          code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else {
          at_ = back;
        }
      }
      // A lone surrogate is not text; U+FFFD stands for it.
      append_utf8(out, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
    } else {
      error("bad escape");
    }
    heap_.spend(1);
  }

  char32_t hex4() {
    unsigned code = 0;
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || end.ptr != digits.data() + 4) error("bad \\u escape");
    at_ += 4;
    return code;
  }

  Value number() {
    const size_t start = at_;
    const auto digits = [&] {
      const size_t from = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      return at_ - from;
    };
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return error("expected a value");
    bool real = false;
    if (peek() == '.') {
      ++at_;
      real = true;
      if (digits() == 0) return error("bad number");
    }
    if ((peek() | 0x20) == 'e') {
      ++at_;
      real = true;
      if (peek() == '+' || peek() == '-') ++at_;
      if (digits() == 0) return error("bad number");
    }
    const std::string_view text = text_.substr(start, at_ - start);
    if (real) {
      double value = 0;
      parse_float(text, &value);
      return Value::real(value);
    }
    int64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc())
      return Value::integer(value);
    return Value::big_integer(text);
  }

  Value literal(std::string_view word, const Value& value) {
    if (text_.substr(at_, word.size()) != word) return error("expected a value");
    at_ += word.size();
    return value;
  }

  Value error(const char* what) {
    heap_.fail("the context is not JSON: %s at byte %zu", what, at_);
    return {};
  }
  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  Heap& heap_;
  std::string_view text_;
  size_t at_ = 0;
};

void append_unicode_escape(std::string& out, char32_t code) {
  char buffer[16];
  if (code >= 0x10000) {
    const auto high = static_cast<unsigned>(0xD800 + ((code - 0x10000) >> 10));
    const auto low = static_cast<unsigned>(0xDC00 + ((code - 0x10000) & 0x3FF));
    std::snprintf(buffer, sizeof(buffer), "\\u%04x\\u%04x", high, low);
  } else {
    std::snprintf(buffer, sizeof(buffer), "\\u%04x", static_cast<unsigned>(code));
  }
  out += buffer;
}

void append_json_string(Heap& heap, std::string& out, std::string_view text, bool ensure_ascii) {
  static constexpr std::string_view kSpecial = "\"\\\n\r\t\b\f", kLetters = "\"\\nrtbf";
  if (!heap.spend_bytes(text.size())) return;
  std::string quoted = "\"";
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const size_t special =
        c.value < 0x80 ? kSpecial.find(static_cast<char>(c.value)) : std::string_view::npos;
    if (special != std::string_view::npos) {
      quoted += '\\';
      quoted += kLetters[special];
    } else if (c.value < 0x20 || (ensure_ascii && c.value >= 0x7F)) {
      append_unicode_escape(quoted, c.value);
    } else {
      quoted.append(text.substr(at, c.length));
    }
    at += c.length;
  }
  quoted += '"';
  put(heap, out, quoted);
}

class JsonWriter {
 public:
  JsonWriter(Heap& heap, std::string& out, const JsonStyle& style)
      : heap_(heap), out_(out), style_(style) {}

  void write(const Value& value, size_t level) {
    const Nesting nesting(heap_);
    if (!nesting || !heap_.spend(1)) return;
    switch (value.kind()) {
      case Kind::kNone:
        out_ += "null";
        return;
      case Kind::kBool:
        out_ += value.boolean() ? "true" : "false";
        return;
      case Kind::kInt:
        out_ += std::to_string(value.integer());
        return;
      case Kind::kBigInt:
        put(heap_, out_, value.text());
        return;
      case Kind::kFloat:
        number(value.real());
        return;
      case Kind::kString:
        append_json_string(heap_, out_, value.text(), style_.ensure_ascii);
        return;
      case Kind::kList:
      case Kind::kTuple:
        array(value.list(), level);
        return;
      case Kind::kDict:
        object(value.dict(), level);
        return;
      default:
        heap_.fail("Object of type %s is not JSON serializable", type_name(value));
    }
  }

 private:
  void number(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value < 0 ? "-Infinity" : "Infinity";
    } else {
      append_float(out_, value);
    }
  }

  void array(const List& list, size_t level) {
    if (list.size == 0) return void(out_ += "[]");
    out_ += '[';
    for (size_t i = 0; i < list.size && !heap_.failed(); ++i) {
      if (i > 0 && !put(heap_, out_, style_.item_separator)) return;
      new_line(level + 1);
      write(list.items[i], level + 1);
    }
    new_line(level);
    out_ += ']';
  }

  void object(const Dict& dict, size_t level) {
    if (dict.size == 0) return void(out_ += "{}");
    std::vector<Dict::Entry> entries(dict.items().begin(), dict.items().end());
    if (!heap_.spend(entries.size())) return;
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(heap_, a.key, b.key); });
    }
    out_ += '{';
    for (size_t i = 0; i < entries.size() && !heap_.failed(); ++i) {
      if (i > 0 && !put(heap_, out_, style_.item_separator)) return;
      new_line(level + 1);
      key(entries[i].key);
      if (!put(heap_, out_, style_.key_separator)) return;
      write(entries[i].value, level + 1);
    }
    new_line(level);
    out_ += '}';
  }

  void key(const Value& key) {
    if (key.is_string()) return append_json_string(heap_, out_, key.text(), style_.ensure_ascii);
    if (!key.is_numeric() && !key.is_none())
      return heap_.fail("keys must be str, int, float, bool or None, not %s", type_name(key));
    out_ += '"';
    write(key, 0);
    out_ += '"';
  }

  void new_line(size_t level) {
    if (!style_.pretty || !put(heap_, out_, "\n")) return;
    for (size_t i = 0; i < level && put(heap_, out_, style_.indent); ++i) {
    }
  }

  Heap& heap_;
  std::string& out_;
  const JsonStyle& style_;
};

}  // namespace

Value parse_json(Heap& heap, std::string_view json) {
  if (json.size() > UINT32_MAX) return heap.fail("the context is larger than 4 GB"), Value();
  return JsonParser(heap, json).document();
}

void append_json(Heap& heap, std::string& out, const Value& value, const JsonStyle& style) {
  JsonWriter(heap, out, style).write(value, 0);
}

}  // namespace geist::text::jinja
