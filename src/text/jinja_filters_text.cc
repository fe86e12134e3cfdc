// Filters whose input is text, and tojson.
#include <algorithm>

#include "base/unicode.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

using In = Interpreter;

template <LetterCase kCase>
Value filter_case(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "case filter", arguments, {});
  const Value text = to_string(in.heap, self);
  return Value::string(change_case(in.heap, text.text(), kCase)).with_markup(text.is_markup());
}

// Jinja's title: words start after spaces, hyphens and opening brackets, so "don't" stays one word.
Value filter_title(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "title", arguments, {});
  const std::string_view text = to_string(in.heap, self).text();
  std::string out;
  const auto starts_word = [](char32_t c) {
    return is_python_space(c) || (c < 0x80 && std::string_view("-({[<").find(
                                                  static_cast<char>(c)) != std::string_view::npos);
  };
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && !starts_word(decode_utf8(text, end).value))
      end += decode_utf8(text, end).length;
    if (end == at) end += decode_utf8(text, at).length;
    if (!put(in.heap, out,
             change_case(in.heap, text.substr(at, end - at), LetterCase::kCapitalize)))
      return {};
    at = end;
  }
  return Value::string(in.heap.copy(out));
}

Value filter_trim(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "trim", arguments, {"chars"});
  const Value text = to_string(in.heap, self);
  const std::string_view chars = p.given(0) ? p.text(0, "") : "";
  return Value::string(strip(in.heap, text.text(), p.given(0) ? &chars : nullptr, true, true))
      .with_markup(text.is_markup());
}

Value filter_replace(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "replace", arguments, {"old", "new", "count"});
  if (!p.require(2)) return {};
  const Value text = to_string(in.heap, self), from = to_string(in.heap, p.get(0)),
              to = to_string(in.heap, p.get(1));
  return Value::string(replace_text(in.heap, text.text(), from.text(), to.text(),
                                    p.given(2) ? p.integer(2, -1) : -1));
}

Value filter_string(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "string", arguments, {});
  return to_string(in.heap, self);
}

Value filter_safe(In& in, const Value& self, const Arguments&) {
  return Value::markup(to_string(in.heap, self).text());
}

Value filter_escape(In& in, const Value& self, const Arguments&) {
  if (self.is_markup()) return self;
  return Value::markup(escape_html(in.heap, to_string(in.heap, self).text()));
}
Value filter_force_escape(In& in, const Value& self, const Arguments&) {
  return Value::markup(escape_html(in.heap, to_string(in.heap, self).text()));
}

Value filter_indent(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "indent", arguments, {"width", "first", "blank"});
  if (!self.is_string())
    return in.heap.fail("indent() needs a string, not %s", type_name(self)), Value();
  std::string indentation;
  if (p.has(0) && p.get(0).is_string()) {
    indentation = p.get(0).text();
  } else if (!put_repeated(in.heap, indentation, ' ', p.integer(0, 4))) {
    return {};
  }
  const bool first = p.boolean(1, false), blank = p.boolean(2, false);
  // A final line end counts as one more, empty, line.
  const auto lines = split_lines(in.heap, in.heap.concat(self.text(), "\n"));
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0 && !put(in.heap, out, "\n")) return {};
    const bool indents = i == 0 ? first : blank || !lines[i].empty();
    if (indents && !put(in.heap, out, indentation)) return {};
    if (!put(in.heap, out, lines[i])) return {};
  }
  return Value::string(in.heap.copy(out)).with_markup(self.is_markup());
}

Value filter_truncate(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Value text = to_string(in.heap, self);
  const std::string_view end = p.text(2, "...");
  const int64_t length = p.integer(0, 255), leeway = p.given(3) ? p.integer(3, 5) : 5;
  const int64_t kept = length - static_cast<int64_t>(character_count(in.heap, end));
  if (kept < 0) return in.heap.fail("truncate(): the length is shorter than its end"), Value();
  if (static_cast<int64_t>(character_count(in.heap, text.text())) <= length + leeway) return text;
  std::string_view head =
      text.text().substr(0, byte_offset(in.heap, text.text(), static_cast<size_t>(kept)));
  if (!p.boolean(1, false)) head = head.substr(0, head.rfind(' '));
  return Value::string(in.heap.concat(head, end));
}

Value filter_center(In& in, const Value& self, const Arguments& arguments) {
  const Value text = to_string(in.heap, self), width = Value::integer(80);
  const Arguments given = arguments.positional.empty() && arguments.named.empty()
                              ? Arguments{{&width, 1}, {}}
                              : arguments;
  return (*find_function(string_methods(), "center"))(in, text, given);
}

// A word is a run of letters, digits and underscores.
Value filter_wordcount(In& in, const Value& self, const Arguments&) {
  const std::string_view text = to_string(in.heap, self).text();
  if (!in.heap.spend_bytes(text.size() * 2)) return {};
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    const bool word = c.value == '_' || is_letter(c.value) || is_number(c.value);
    count += word && !inside;
    inside = word;
    at += c.length;
  }
  return Value::integer(count);
}

Value filter_format(In& in, const Value& self, const Arguments& arguments) {
  const Value format = to_string(in.heap, self);
  if (arguments.named.empty())
    return format_percent(in.heap, format.text(),
                          make_list(in.heap, arguments.positional, Kind::kTuple));
  if (!arguments.positional.empty())
    return in.heap.fail("format(): positional and named arguments do not mix"), Value();
  Dict* const dict = in.heap.make<Dict>();
  for (const NamedValue& argument : arguments.named)
    dict->set(in.heap, Value::string(argument.name), argument.value);
  return format_percent(in.heap, format.text(), Value::of(Kind::kDict, dict));
}

Value filter_urlencode(In& in, const Value& self, const Arguments&) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const Value text = to_string(in.heap, self);
  std::string out;
  for (const char c : text.text()) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~/").find(c) != std::string_view::npos;
    const auto byte = static_cast<unsigned char>(c);
    const char escaped[3] = {'%', kHex[byte >> 4], kHex[byte & 15]};
    if (!put(in.heap, out, plain ? std::string_view(&c, 1) : std::string_view(escaped, 3)))
      return {};
  }
  return Value::string(in.heap.copy(out));
}

// json.dumps() with the parameters that Hugging Face's tojson takes, no HTML escaping.
Value filter_tojson(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "tojson", arguments,
                     {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = p.boolean(0, false);
  style.sort_keys = p.boolean(3, false);
  std::string indentation;
  if (p.given(1)) {
    style.pretty = true;
    style.item_separator = ",";
    if (p.get(1).is_string()) {
      indentation = p.get(1).text();
    } else if (!put_repeated(in.heap, indentation, ' ', p.integer(1, 0))) {
      return {};
    }
    style.indent = indentation;
  }
  if (p.given(2)) {
    const auto separators = iterate(in.heap, p.get(2));
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      return in.heap.fail("tojson(): separators are two strings"), Value();
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  std::string out;
  append_json(in.heap, out, self, style);
  return Value::string(in.heap.copy(out));
}

constexpr NamedFunction kFilters[] = {
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"string", filter_string},
    {"upper", filter_case<LetterCase::kUpper>},
    {"lower", filter_case<LetterCase::kLower>},
    {"capitalize", filter_case<LetterCase::kCapitalize>},
    {"title", filter_title},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"escape", filter_escape},
    {"e", filter_escape},
    {"forceescape", filter_force_escape},
    {"indent", filter_indent},
    {"truncate", filter_truncate},
    {"center", filter_center},
    {"wordcount", filter_wordcount},
    {"format", filter_format},
    {"urlencode", filter_urlencode},
};

}  // namespace

std::span<const NamedFunction> text_filters() { return kFilters; }

const Function* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), sequence_filters(), number_filters()}) {
    if (const Function* found = find_function(table, name)) return found;
  }
  return nullptr;
}

}  // namespace geist::text::jinja
