// Methods of strings, lists, dicts and the loop: the fixed list that templates may call.
#include <algorithm>

#include "base/unicode.h"
#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

using In = Interpreter;

Value same_markup(const Value& self, std::string_view text) {
  return Value::string(text).with_markup(self.is_markup());
}

// --- str ---

template <LetterCase kCase>
Value str_case(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "str method", arguments, {});
  return same_markup(self, change_case(in.heap, self.text(), kCase));
}

template <bool kLeft, bool kRight>
Value str_strip(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "strip", arguments, {"chars"});
  const std::string_view chars = p.given(0) ? p.text(0, "") : "";
  return same_markup(self,
                     strip(in.heap, self.text(), p.given(0) ? &chars : nullptr, kLeft, kRight));
}

template <bool kFromRight>
Value str_split(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "split", arguments, {"sep", "maxsplit"});
  const std::string_view separator = p.given(0) ? p.text(0, "") : "";
  return split(in.heap, self.text(), p.given(0) ? &separator : nullptr, p.integer(1, -1),
               kFromRight);
}

Value str_splitlines(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "splitlines", arguments, {"keepends"});
  const Value out = make_list(in.heap, {});
  for (const std::string_view line : split_lines(in.heap, self.text(), p.boolean(0, false))) {
    out.list().push(in.heap, Value::string(line));
  }
  return out;
}

template <bool kFromRight>
Value str_partition(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "partition", arguments, {"sep"});
  if (!p.require(1)) return {};
  const std::string_view text = self.text(), separator = p.text(0, "");
  if (separator.empty()) return in.heap.fail("empty separator"), Value();
  const size_t at =
      kFromRight ? rfind_text(in.heap, text, separator) : find_text(in.heap, text, separator, 0);
  Value parts[3] = {Value::string(text), Value::string({}), Value::string({})};
  if (at != std::string_view::npos) {
    parts[0] = Value::string(text.substr(0, at));
    parts[1] = Value::string(separator);
    parts[2] = Value::string(text.substr(at + separator.size()));
  } else if (kFromRight) {
    std::swap(parts[0], parts[2]);
  }
  return make_list(in.heap, parts, Kind::kTuple);
}

Value str_replace(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "replace", arguments, {"old", "new", "count"});
  if (!p.require(2)) return {};
  return same_markup(
      self, replace_text(in.heap, self.text(), p.text(0, ""), p.text(1, ""), p.integer(2, -1)));
}

// The part of text between two character positions, as find() and its kin take them.
std::string_view window(In& in, std::string_view text, const Parameters& p, size_t first,
                        size_t* offset) {
  *offset = 0;
  if (!p.given(first) && !p.given(first + 1)) return text;
  const Value part = slice(in.heap, Value::string(text), p.get(first, Value::none()),
                           p.get(first + 1, Value::none()), Value::none());
  const std::string_view out = part.is_string() ? part.text() : "";
  if (!out.empty()) *offset = static_cast<size_t>(out.data() - text.data());
  return out;
}

template <bool kEnd>
Value str_starts_or_ends(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, kEnd ? "endswith" : "startswith", arguments,
                     {"prefix", "start", "end"});
  if (!p.require(1)) return {};
  size_t offset;
  const std::string_view text = window(in, self.text(), p, 1, &offset);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string())
      return in.heap.fail("startswith() and endswith() take a string or a tuple of strings"), false;
    in.heap.spend_bytes(std::min(affix.text().size(), text.size()));
    return kEnd ? text.ends_with(affix.text()) : text.starts_with(affix.text());
  };
  const Value affix = p.get(0);
  if (affix.kind() != Kind::kTuple) return Value::boolean(matches(affix));
  const auto affixes = affix.list().values();
  return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
}

template <bool kFromRight, bool kMustExist>
Value str_find(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "find", arguments, {"sub", "start", "end"});
  if (!p.require(1)) return {};
  size_t offset;
  const std::string_view text = window(in, self.text(), p, 1, &offset);
  const size_t at = kFromRight ? rfind_text(in.heap, text, p.text(0, ""))
                               : find_text(in.heap, text, p.text(0, ""), 0);
  if (at != std::string_view::npos) {
    return Value::integer(
        static_cast<int64_t>(character_count(in.heap, self.text().substr(0, offset + at))));
  }
  if (kMustExist) in.heap.fail("substring not found");
  return Value::integer(-1);
}

Value str_count(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "count", arguments, {"sub", "start", "end"});
  if (!p.require(1)) return {};
  size_t offset;
  const std::string_view text = window(in, self.text(), p, 1, &offset), needle = p.text(0, "");
  if (needle.empty())
    return Value::integer(static_cast<int64_t>(character_count(in.heap, text)) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = find_text(in.heap, text, needle, at)) != std::string_view::npos;
       at += needle.size())
    ++count;
  return Value::integer(count);
}

Value str_join(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "join", arguments, {"iterable"});
  if (!p.require(1)) return {};
  std::string out;
  bool first = true;
  for (const Value& item : iterate(in.heap, p.get(0))) {
    if (!item.is_string())
      return in.heap.fail("join(): expected strings, %s found", type_name(item)), Value();
    if (!first && !put(in.heap, out, self.text())) return {};
    first = false;
    if (!put(in.heap, out, item.text())) return {};
  }
  return Value::string(in.heap.copy(out));
}

Value str_format(In& in, const Value& self, const Arguments& arguments) {
  return format_braces(in.heap, self.text(), arguments);
}

template <int kSide>  // -1 ljust, 0 center, 1 rjust
Value str_justify(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "justify", arguments, {"width", "fillchar"});
  if (!p.require(1)) return {};
  const std::string_view fill = p.text(1, " ");
  if (fill.size() != 1)
    return in.heap.fail("the fill character must be one ASCII character"), Value();
  const auto size = static_cast<int64_t>(character_count(in.heap, self.text()));
  const int64_t padding = std::max<int64_t>(0, p.integer(0, 0) - size);
  // Python puts the odd space of center() on the left when the width is odd.
  const int64_t left = kSide < 0   ? 0
                       : kSide > 0 ? padding
                                   : padding / 2 + (padding & p.integer(0, 0) & 1);
  std::string out;
  if (!put_repeated(in.heap, out, fill[0], left) || !put(in.heap, out, self.text()) ||
      !put_repeated(in.heap, out, fill[0], padding - left))
    return {};
  return Value::string(in.heap.copy(out));
}

Value str_zfill(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "zfill", arguments, {"width"});
  std::string_view text = self.text();
  const auto size = static_cast<int64_t>(character_count(in.heap, text));
  std::string out;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    out += text[0];
    text.remove_prefix(1);
  }
  if (!put_repeated(in.heap, out, '0', p.integer(0, 0) - size) || !put(in.heap, out, text))
    return {};
  return Value::string(in.heap.copy(out));
}

template <bool kPrefix>
Value str_remove(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "removeprefix", arguments, {"affix"});
  if (!p.require(1)) return {};
  std::string_view text = self.text();
  const std::string_view affix = p.text(0, "");
  if (kPrefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!kPrefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Value::string(text);
}

// isdigit() and its kin: non-empty, and every character passes.
template <bool (*kTest)(char32_t)>
Value str_is(In& in, const Value& self, const Arguments&) {
  const std::string_view text = self.text();
  in.heap.spend_bytes(text.size() * 2);
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (!kTest(c.value)) return Value::boolean(false);
    at += c.length;
  }
  return Value::boolean(!text.empty());
}
bool is_alphanumeric(char32_t c) { return is_letter(c) || is_number(c); }
bool is_decimal_digit(char32_t c) { return is_number(c) && !is_letter(c); }

template <bool kUpper>
Value str_is_case(In& in, const Value& self, const Arguments&) {
  bool found = false;
  in.heap.spend_bytes(self.text().size() * 2);
  for (size_t at = 0; at < self.text().size();) {
    const CodePoint c = decode_utf8(self.text(), at);
    if (is_titlecase(c.value) || (kUpper ? is_lowercase(c.value) : is_uppercase(c.value)))
      return Value::boolean(false);
    found |= kUpper ? is_uppercase(c.value) : is_lowercase(c.value);
    at += c.length;
  }
  return Value::boolean(found);
}

// --- list ---

size_t list_index(const List& list, int64_t i) {
  const auto size = static_cast<int64_t>(list.size);
  return static_cast<size_t>(std::clamp<int64_t>(i < 0 ? i + size : i, 0, size));
}

Value list_append(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "append", arguments, {"item"});
  if (p.require(1)) self.list().push(in.heap, p.get(0));
  return Value::none();
}

Value list_extend(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "extend", arguments, {"items"});
  if (!p.require(1)) return {};
  for (const Value& item : iterate(in.heap, p.get(0))) {
    if (!in.heap.spend(1)) break;
    self.list().push(in.heap, item);
  }
  return Value::none();
}

Value list_insert(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "insert", arguments, {"index", "item"});
  if (!p.require(2)) return {};
  List& list = self.list();
  const size_t at = list_index(list, p.integer(0, 0));
  if (!in.heap.spend_bytes((list.size - at) * sizeof(Value))) return {};
  list.push(in.heap, p.get(1));
  if (!in.heap.failed())
    std::rotate(list.items + at, list.items + list.size - 1, list.items + list.size);
  return Value::none();
}

Value list_pop(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "pop", arguments, {"index"});
  List& list = self.list();
  int64_t i = p.integer(0, -1);
  if (i < 0) i += static_cast<int64_t>(list.size);
  if (i < 0 || i >= static_cast<int64_t>(list.size))
    return in.heap.fail("pop index out of range"), Value();
  const auto at = static_cast<size_t>(i);
  if (!in.heap.spend_bytes((list.size - at) * sizeof(Value))) return {};
  const Value out = list.items[at];
  std::copy(list.items + at + 1, list.items + list.size, list.items + at);
  --list.size;
  return out;
}

size_t position_of_item(In& in, const List& list, const Value& item) {
  for (size_t i = 0; i < list.size && in.heap.spend(1); ++i) {
    if (equals(in.heap, list.items[i], item)) return i;
  }
  return list.size;
}

Value list_index_of(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "index", arguments, {"item"});
  if (!p.require(1)) return {};
  const size_t at = position_of_item(in, self.list(), p.get(0));
  if (at == self.list().size) in.heap.fail("the value is not in the list");
  return Value::integer(static_cast<int64_t>(at));
}

Value list_remove(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "remove", arguments, {"item"});
  if (!p.require(1)) return {};
  List& list = self.list();
  const size_t at = position_of_item(in, list, p.get(0));
  if (at == list.size) return in.heap.fail("the value is not in the list"), Value();
  std::copy(list.items + at + 1, list.items + list.size, list.items + at);
  --list.size;
  return Value::none();
}

Value list_count(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "count", arguments, {"item"});
  if (!p.require(1)) return {};
  int64_t count = 0;
  for (const Value& item : self.list().values()) {
    if (!in.heap.spend(1)) break;
    count += equals(in.heap, item, p.get(0));
  }
  return Value::integer(count);
}

Value list_reverse(In& in, const Value& self, const Arguments&) {
  List& list = self.list();
  if (in.heap.spend(list.size)) std::reverse(list.items, list.items + list.size);
  return Value::none();
}

Value list_sort(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "sort", arguments, {"reverse"});
  List& list = self.list();
  const bool reverse = p.boolean(0, false);
  std::stable_sort(list.items, list.items + list.size, [&](const Value& a, const Value& b) {
    return reverse ? less(in.heap, b, a) : less(in.heap, a, b);
  });
  return Value::none();
}

Value list_clear(In&, const Value& self, const Arguments&) {
  self.list().size = 0;
  return Value::none();
}

Value list_copy(In& in, const Value& self, const Arguments&) {
  return make_list(in.heap, self.list().values());
}

// --- dict ---

enum class Part { kKeys, kValues, kItems };
template <Part kPart>
Value dict_view(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "dict view", arguments, {});
  const Value out = make_list(in.heap, {}, Kind::kDictView);
  for (const auto& [key, value] : self.dict().items()) {
    if (!in.heap.spend(1)) break;
    const Value pair[2] = {key, value};
    out.list().push(in.heap, kPart == Part::kKeys     ? key
                             : kPart == Part::kValues ? value
                                                      : make_list(in.heap, pair, Kind::kTuple));
  }
  return out;
}

Value dict_get(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "get", arguments, {"key", "default"});
  if (!p.require(1)) return {};
  const Value* const found = self.dict().find(in.heap, p.get(0));
  return found != nullptr ? *found : p.get(1, Value::none());
}

Value dict_pop(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "pop", arguments, {"key", "default"});
  if (!p.require(1)) return {};
  const Value* const found = self.dict().find(in.heap, p.get(0));
  if (found == nullptr) {
    if (!p.has(1)) in.heap.fail("pop(): the key is not in the dict");
    return p.get(1);
  }
  const Value out = *found;
  self.dict().erase(in.heap, p.get(0));
  return out;
}

Value dict_setdefault(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "setdefault", arguments, {"key", "default"});
  if (!p.require(1)) return {};
  if (const Value* found = self.dict().find(in.heap, p.get(0))) return *found;
  self.dict().set(in.heap, p.get(0), p.get(1, Value::none()));
  return p.get(1, Value::none());
}

// Adds a mapping or a sequence of pairs, as dict() and update() take them.
void update_dict(In& in, Dict& dict, const Value& from) {
  if (from.is_dict()) {
    const std::vector<Dict::Entry> entries(from.dict().items().begin(), from.dict().items().end());
    if (!in.heap.spend(entries.size())) return;
    for (const auto& [key, value] : entries) dict.set(in.heap, key, value);
    return;
  }
  for (const Value& item : iterate(in.heap, from)) {
    const auto pair = iterate(in.heap, item);
    if (pair.size() != 2) return in.heap.fail("a dict is made from pairs of key and value");
    dict.set(in.heap, pair[0], pair[1]);
    if (in.heap.failed()) return;
  }
}

Value dict_update(In& in, const Value& self, const Arguments& arguments) {
  for (const Value& from : arguments.positional) update_dict(in, self.dict(), from);
  for (const NamedValue& entry : arguments.named)
    self.dict().set(in.heap, Value::string(entry.name), entry.value);
  return Value::none();
}

Value dict_clear(In&, const Value& self, const Arguments&) {
  self.dict() = Dict{};
  return Value::none();
}

Value dict_copy(In& in, const Value& self, const Arguments&) {
  Dict* const copy = in.heap.make<Dict>();
  update_dict(in, *copy, self);
  return Value::of(Kind::kDict, copy);
}

// --- loop ---

Value loop_cycle(In& in, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) return in.heap.fail("no items for cycling given"), Value();
  return arguments.positional[self.loop().index0 % arguments.positional.size()];
}

Value loop_changed(In& in, const Value& self, const Arguments& arguments) {
  Loop& loop = self.loop();
  const Value now = make_list(in.heap, arguments.positional, Kind::kTuple);
  const bool changed = !loop.has_changed_value || !equals(in.heap, now, loop.changed_value);
  loop.has_changed_value = true;
  loop.changed_value = now;
  return Value::boolean(changed);
}

constexpr NamedFunction kStringMethods[] = {
    {"strip", str_strip<true, true>},
    {"lstrip", str_strip<true, false>},
    {"rstrip", str_strip<false, true>},
    {"split", str_split<false>},
    {"rsplit", str_split<true>},
    {"splitlines", str_splitlines},
    {"partition", str_partition<false>},
    {"rpartition", str_partition<true>},
    {"replace", str_replace},
    {"startswith", str_starts_or_ends<false>},
    {"endswith", str_starts_or_ends<true>},
    {"find", str_find<false, false>},
    {"rfind", str_find<true, false>},
    {"index", str_find<false, true>},
    {"rindex", str_find<true, true>},
    {"count", str_count},
    {"join", str_join},
    {"format", str_format},
    {"upper", str_case<LetterCase::kUpper>},
    {"lower", str_case<LetterCase::kLower>},
    {"casefold", str_case<LetterCase::kLower>},
    {"title", str_case<LetterCase::kTitle>},
    {"capitalize", str_case<LetterCase::kCapitalize>},
    {"swapcase", str_case<LetterCase::kSwap>},
    {"ljust", str_justify<-1>},
    {"center", str_justify<0>},
    {"rjust", str_justify<1>},
    {"zfill", str_zfill},
    {"removeprefix", str_remove<true>},
    {"removesuffix", str_remove<false>},
    {"isdigit", str_is<is_decimal_digit>},
    {"isnumeric", str_is<is_number>},
    {"isdecimal", str_is<is_decimal_digit>},
    {"isalpha", str_is<is_letter>},
    {"isalnum", str_is<is_alphanumeric>},
    {"isspace", str_is<is_python_space>},
    {"isupper", str_is_case<true>},
    {"islower", str_is_case<false>},
};

constexpr NamedFunction kListMethods[] = {
    {"append", list_append}, {"extend", list_extend},   {"insert", list_insert},
    {"pop", list_pop},       {"index", list_index_of},  {"remove", list_remove},
    {"count", list_count},   {"reverse", list_reverse}, {"sort", list_sort},
    {"clear", list_clear},   {"copy", list_copy},
};
constexpr NamedFunction kTupleMethods[] = {{"index", list_index_of}, {"count", list_count}};

constexpr NamedFunction kDictMethods[] = {
    {"items", dict_view<Part::kItems>},
    {"keys", dict_view<Part::kKeys>},
    {"values", dict_view<Part::kValues>},
    {"get", dict_get},
    {"pop", dict_pop},
    {"setdefault", dict_setdefault},
    {"update", dict_update},
    {"clear", dict_clear},
    {"copy", dict_copy},
};

constexpr NamedFunction kLoopMethods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};

}  // namespace

std::span<const NamedFunction> string_methods() { return kStringMethods; }

const Function* find_function(std::span<const NamedFunction> table, std::string_view name) {
  for (const NamedFunction& entry : table) {
    if (entry.name == name) return &entry.function;
  }
  return nullptr;
}

const Function* find_method(const Value& value, std::string_view name) {
  switch (value.kind()) {
    case Kind::kString:
      return find_function(kStringMethods, name);
    case Kind::kList:
      return find_function(kListMethods, name);
    case Kind::kTuple:
    case Kind::kRange:
      return find_function(kTupleMethods, name);
    case Kind::kDict:
      return find_function(kDictMethods, name);
    case Kind::kLoop:
      return find_function(kLoopMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace geist::text::jinja
