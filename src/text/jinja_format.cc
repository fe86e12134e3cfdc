#include "text/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/unicode.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

constexpr int kPrecisionMax = 400;  // digits after the point; a double has no more that matter
constexpr int kWidthDigitsMax = 9;

// What both format languages say about one field.
struct Spec {
  std::string_view fill = " ";
  char align = 0;  // < > ^ =
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // , or _
  int64_t width = 0;
  int precision = -1;
  char type = 0;
};

int64_t read_number(std::string_view text, size_t* at) {
  int64_t value = 0;
  for (int digits = 0; *at < text.size() && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
    if (digits++ < kWidthDigitsMax) value = value * 10 + (text[*at] - '0');
  }
  return value;
}

std::string group_digits(const std::string& digits, char separator, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && i < whole && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string integer_digits(uint64_t magnitude, char type, bool alternate) {
  char buffer[72];
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const char* const end = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, base).ptr;
  std::string out(buffer, static_cast<size_t>(end - buffer));
  if (type == 'X') {
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  }
  if (alternate && base != 10) out.insert(0, {'0', type});
  return out;
}

std::string float_digits(double magnitude, const Spec& spec) {
  if (std::isinf(magnitude)) return "inf";
  if (std::isnan(magnitude)) return "nan";
  const int precision = std::min(spec.precision < 0 ? 6 : spec.precision, kPrecisionMax);
  std::string out(static_cast<size_t>(precision) + 340, '\0');
  char format[8];
  const char conversion = spec.type == '%'                     ? 'f'
                          : spec.type == 0 || spec.type == 'n' ? 'g'
                                                               : spec.type;
  std::snprintf(format, sizeof(format), spec.alternate ? "%%#.*%c" : "%%.*%c", conversion);
  const double scaled = spec.type == '%' ? magnitude * 100 : magnitude;
  const int size = std::snprintf(out.data(), out.size(), format, precision, scaled);
  out.resize(static_cast<size_t>(std::max(size, 0)));
  if (spec.type == '%') out += '%';
  return out;
}

// Places `body` (sign apart) into the field's width.
void pad_field(Heap& heap, std::string& out, const Spec& spec, std::string_view sign,
               std::string_view body, char default_align) {
  const auto used = static_cast<int64_t>(character_count(heap, body) + sign.size());
  const int64_t padding = std::max<int64_t>(0, spec.width - used);
  const char align = spec.align ? spec.align : default_align;
  const int64_t left = align == '>' || align == '=' ? padding : align == '^' ? padding / 2 : 0;
  const auto fill = [&](int64_t count) {
    if (spec.fill.size() == 1) return put_repeated(heap, out, spec.fill[0], count);
    while (count-- > 0 && put(heap, out, spec.fill)) {
    }
    return !heap.failed();
  };
  if (align == '=' && !put(heap, out, sign)) return;
  if (!fill(left)) return;
  if (align != '=' && !put(heap, out, sign)) return;
  if (put(heap, out, body)) fill(padding - left);
}

void format_number(Heap& heap, std::string& out, const Spec& spec, const Value& value) {
  const bool floating = value.kind() == Kind::kFloat ||
                        std::string_view("eEfFgG%n").find(spec.type) != std::string_view::npos;
  std::string body;
  bool negative;
  if (floating && !(spec.type == 'n' && value.is_integral())) {
    negative = std::signbit(value.real());
    if (value.kind() == Kind::kFloat && spec.type == 0 && spec.precision < 0) {
      append_float(body, std::fabs(value.real()));
    } else {
      body = float_digits(std::fabs(value.real()), spec);
    }
  } else {
    negative = value.integer() < 0;
    const auto bits = static_cast<uint64_t>(value.integer());
    body = integer_digits(negative ? 0 - bits : bits, spec.type, spec.alternate);
  }
  if (spec.grouping) body = group_digits(body, spec.grouping, spec.type == 'x' ? 4 : 3);
  const char plus[2] = {spec.sign, 0};
  pad_field(heap, out, spec, negative ? "-" : spec.sign == '-' ? "" : plus, body, '>');
}

bool is_number_type(char type) {
  return std::string_view("bdoxXneEfFgG%").find(type) != std::string_view::npos;
}

void format_text(Heap& heap, std::string& out, const Spec& spec, std::string_view text) {
  if (spec.precision >= 0)
    text = text.substr(0, byte_offset(heap, text, static_cast<size_t>(spec.precision)));
  pad_field(heap, out, spec, "", text, '<');
}

// --- "..." % values
// --------------------------------------------------------------------------------

class PercentFormatter {
 public:
  PercentFormatter(Heap& heap, std::string_view format, const Value& value)
      : heap_(heap), format_(format), value_(value) {
    if (value.kind() == Kind::kTuple) {
      values_ = value.list().values();
    } else {
      values_ = {&value_, 1};
    }
  }

  Value run() {
    while (at_ < format_.size() && !heap_.failed()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      put(heap_, out_, format_.substr(at_, percent - at_));
      at_ = percent;
      if (at_ < format_.size()) field();
    }
    const bool mapping = value_.is_dict();
    if (!mapping && next_ < values_.size())
      heap_.fail("not all arguments converted during string formatting");
    return Value::string(heap_.copy(out_));
  }

 private:
  void field() {
    ++at_;
    Spec spec;
    spec.align = '>';
    Value value;
    bool keyed = false;
    if (peek() == '(') {
      const size_t close = std::min(format_.find(')', at_), format_.size());
      const std::string_view key = format_.substr(at_ + 1, close - at_ - 1);
      at_ = std::min(close + 1, format_.size());
      const Value* found = value_.is_dict() ? value_.dict().find(heap_, key) : nullptr;
      if (found == nullptr) return heap_.fail("format requires a mapping with every key named");
      value = *found;
      keyed = true;
    }
    flags(spec);
    spec.width = peek() == '*' ? star() : read_number(format_, &at_);
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = static_cast<int>(std::clamp<int64_t>(
          peek() == '*' ? star() : read_number(format_, &at_), 0, kPrecisionMax));
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    spec.type = peek();
    ++at_;
    if (spec.type == '%') return void(put(heap_, out_, "%"));
    if (!keyed) value = next();
    convert(spec, value);
  }

  void flags(Spec& spec) {
    for (;; ++at_) {
      switch (peek()) {
        case '-':
          spec.align = '<';
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          if (spec.sign == '-') spec.sign = ' ';
          break;
        case '0':
          if (spec.align == '>') {
            spec.align = '=';
            spec.fill = "0";
          }
          break;
        case '#':
          spec.alternate = true;
          break;
        default:
          if (spec.align == '<') spec.fill = " ";
          return;
      }
    }
  }

  void convert(Spec spec, const Value& value) {
    if (heap_.failed()) return;
    const char type = spec.type;
    if (type == 's' || type == 'r' || type == 'a' || type == 'c') {
      std::string text;
      if (type == 'c' && value.is_integral()) {
        if (value.integer() < 0 || value.integer() > 0x10FFFF)
          return heap_.fail("%%c arg not in range(0x110000)");
        append_utf8(text, static_cast<char32_t>(value.integer()));
      } else {
        (type == 's' || type == 'c' ? append_str : append_repr)(heap_, text, value);
      }
      if (spec.align == '=') spec.align = '>', spec.fill = " ";
      return format_text(heap_, out_, spec, text);
    }
    if (type == 'i' || type == 'u') spec.type = 'd';
    if (!is_number_type(spec.type) || spec.type == 'b' || spec.type == 'n' || spec.type == '%')
      return heap_.fail("unsupported format character '%c'", type);
    if (!value.is_numeric())
      return heap_.fail("%%%c format: a real number is required, not %s", type, type_name(value));
    const bool wants_int = std::string_view("doxX").find(spec.type) != std::string_view::npos;
    Value number = value;
    if (wants_int && value.kind() == Kind::kFloat) {
      if (!(std::fabs(value.real()) < 0x1p63))
        return heap_.fail("cannot convert float to a 64-bit integer");
      number = Value::integer(static_cast<int64_t>(value.real()));
    }
    format_number(heap_, out_, spec, number);
  }

  int64_t star() {
    ++at_;
    const Value value = next();
    if (!value.is_integral()) return heap_.fail("* wants int"), 0;
    return std::clamp<int64_t>(value.integer(), -1'000'000'000, 1'000'000'000);
  }
  Value next() {
    if (next_ < values_.size()) return values_[next_++];
    heap_.fail("not enough arguments for format string");
    return {};
  }
  char peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

  Heap& heap_;
  std::string_view format_;
  Value value_;
  std::span<const Value> values_;
  size_t at_ = 0, next_ = 0;
  std::string out_;
};

// --- "...".format(values)
// --------------------------------------------------------------------------

Spec parse_brace_spec(std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  size_t at = 0;
  if (!text.empty()) {
    const size_t fill = decode_utf8(text, 0).length;
    if (fill < text.size() && is_align(text[fill])) {
      spec.fill = text.substr(0, fill);
      spec.align = text[fill];
      at = fill + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
  if (peek() == '#') spec.alternate = true, ++at;
  if (peek() == '0') {
    ++at;
    if (!spec.align) spec.align = '=', spec.fill = "0";
  }
  spec.width = read_number(text, &at);
  if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
  if (peek() == '.') {
    ++at;
    spec.precision = static_cast<int>(std::min<int64_t>(read_number(text, &at), kPrecisionMax));
  }
  spec.type = peek();
  if (at + 1 < text.size()) spec.type = '?';
  return spec;
}

void format_field(Heap& heap, std::string& out, const Value& value, char conversion,
                  std::string_view spec_text) {
  const Spec spec = parse_brace_spec(spec_text);
  const bool numeric =
      conversion == 0 && value.is_numeric() && !(value.kind() == Kind::kBool && spec.type == 0);
  if (numeric && (spec.type == 0 || is_number_type(spec.type))) {
    const bool integral_only = std::string_view("bdoxX").find(spec.type) != std::string_view::npos;
    if (!(spec.type != 0 && integral_only && value.kind() == Kind::kFloat))
      return format_number(heap, out, spec, value);
  }
  if (spec.type != 0 && spec.type != 's')
    return heap.fail("invalid format '%.*s' for %s",
                     static_cast<int>(std::min<size_t>(spec_text.size(), 64)), spec_text.data(),
                     type_name(value));
  std::string text;
  (conversion == 'r' || conversion == 'a' ? append_repr : append_str)(heap, text, value);
  format_text(heap, out, spec, text);
}

// One replacement field's text between the braces: name, !conversion, :spec.
void replace_field(Heap& heap, std::string& out, std::string_view field, const Arguments& arguments,
                   size_t* next) {
  const size_t colon = std::min(field.find(':'), field.size());
  std::string_view name = field.substr(0, colon);
  const std::string_view spec = colon < field.size() ? field.substr(colon + 1) : "";
  char conversion = 0;
  if (name.size() >= 2 && name[name.size() - 2] == '!') {
    conversion = name.back();
    name.remove_suffix(2);
  }
  const Value* value = nullptr;
  if (name.find_first_not_of("0123456789") == std::string_view::npos) {
    size_t at = 0;
    const size_t i = name.empty() ? (*next)++ : static_cast<size_t>(read_number(name, &at));
    if (i < arguments.positional.size()) value = &arguments.positional[i];
  } else {
    value = arguments.find(name);  // no attributes and no indexing: nothing to reach into
  }
  if (value == nullptr)
    return heap.fail("format(): no argument for '{%.*s}'",
                     static_cast<int>(std::min<size_t>(name.size(), 64)), name.data());
  format_field(heap, out, *value, conversion, spec);
}

}  // namespace

void append_float(std::string& out, double value) {
  if (std::isnan(value)) return void(out += "nan");
  if (std::isinf(value)) return void(out += value < 0 ? "-inf" : "inf");
  char buffer[40];
  char* end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, static_cast<size_t>(end - buffer));
  const size_t e = scientific.find('e');
  int exponent = 0;
  const char* digits = scientific.data() + e + 1;
  std::from_chars(*digits == '+' ? digits + 1 : digits, end, exponent);
  if (exponent < -4 || exponent >= 16) return void(out.append(scientific));
  end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed).ptr;
  const std::string_view fixed(buffer, static_cast<size_t>(end - buffer));
  out.append(fixed);
  if (fixed.find('.') == std::string_view::npos) out += ".0";
}

void append_quoted(std::string& out, std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const auto code = static_cast<unsigned>(c.value);
    char escape[16] = "";
    if (c.value == '\n' || c.value == '\r' || c.value == '\t') {
      std::snprintf(escape, sizeof(escape), "\\%c",
                    c.value == '\n'   ? 'n'
                    : c.value == '\r' ? 'r'
                                      : 't');
    } else if (c.value == '\\' || c.value == static_cast<unsigned char>(quote)) {
      std::snprintf(escape, sizeof(escape), "\\%c", static_cast<char>(c.value));
    } else if (c.valid && (is_control(c.value) || (is_space(c.value) && c.value != ' '))) {
      std::snprintf(escape, sizeof(escape),
                    code < 0x100     ? "\\x%02x"
                    : code < 0x10000 ? "\\u%04x"
                                     : "\\U%08x",
                    code);
    }
    if (*escape) {
      out += escape;
    } else {
      out.append(text.substr(at, c.length));
    }
    at += c.length;
  }
  out += quote;
}

Value format_percent(Heap& heap, std::string_view format, const Value& value) {
  return PercentFormatter(heap, format, value).run();
}

Value format_braces(Heap& heap, std::string_view format, const Arguments& arguments) {
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < format.size() && !heap.failed();) {
    const size_t brace = std::min(format.find_first_of("{}", at), format.size());
    if (!put(heap, out, format.substr(at, brace - at))) break;
    at = brace;
    if (at >= format.size()) break;
    if (at + 1 < format.size() && format[at + 1] == format[at]) {
      put(heap, out, format.substr(at, 1));
      at += 2;
      continue;
    }
    const size_t close = format.find('}', at);
    if (format[at] == '}' || close == std::string_view::npos) {
      heap.fail("format(): single '%c' in the format string", format[at]);
      break;
    }
    replace_field(heap, out, format.substr(at + 1, close - at - 1), arguments, &next);
    at = close + 1;
  }
  return Value::string(heap.copy(out));
}

double round_decimal(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < -310) return value * 0;
  if (digits >= 0) {
    std::string text(static_cast<size_t>(digits) + 330, '\0');
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                   std::chars_format::fixed, static_cast<int>(digits));
    double out = value;
    std::from_chars(text.data(), end.ptr, out);
    return out;
  }
  // Whole digits are dropped: the exact integer part as text, rounded half to even by hand.
  double unit = 1;
  for (int64_t i = digits; i < 0; ++i) unit *= 10;
  const double quotient = std::nearbyint(value / unit);
  return quotient * unit;
}

bool parse_integer(std::string_view text, int64_t base, int64_t* out) {
  while (!text.empty() && is_python_space(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && is_python_space(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      text.remove_prefix(2);
      if (!text.empty() && text[0] == '_') text.remove_prefix(1);
    }
  }
  if (base == 0) base = 10;
  if (base < 2 || base > 36) return false;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() || text[i + 1] == '_') {
      return false;
    }
  }
  if (digits.empty() || digits[0] == '-') return false;
  if (negative) digits.insert(0, 1, '-');
  const auto end =
      std::from_chars(digits.data(), digits.data() + digits.size(), *out, static_cast<int>(base));
  return end.ec == std::errc() && end.ptr == digits.data() + digits.size();
}

bool parse_float(std::string_view text, double* out) {
  while (!text.empty() && is_python_space(static_cast<unsigned char>(text.front())))
    text.remove_prefix(1);
  while (!text.empty() && is_python_space(static_cast<unsigned char>(text.back())))
    text.remove_suffix(1);
  if (!text.empty() && text[0] == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text[0] == '-') return false;
  }
  const auto end = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (end.ptr != text.data() + text.size() || text.empty()) return false;
  if (end.ec == std::errc::result_out_of_range) {
    const bool tiny =
        text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos;
    const double magnitude = tiny ? 0.0 : HUGE_VAL;
    *out = text[0] == '-' ? -magnitude : magnitude;
    return true;
  }
  return end.ec == std::errc();
}

}  // namespace geist::text::jinja
