#include "text/jinja_text.h"

#include <algorithm>
#include <cstring>

#include "base/unicode.h"

namespace geist::text::jinja {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

// Decodes backwards: the start of the character that ends at `end`.
size_t previous_start(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && end - start < 4 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80)
    --start;
  return start + decode_utf8(text, start).length == end ? start : end - 1;
}

bool cased(char32_t c) { return is_uppercase(c) || is_lowercase(c) || is_titlecase(c); }

// Python's full mappings differ from the simple ones for few letters; of these the sharp s is in
// use.
void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF) {
    out += "SS";
  } else {
    append_utf8(out, to_upper(c));
  }
}

void append_case(std::string& out, char32_t c, LetterCase to, bool starts_word, bool starts_text) {
  switch (to) {
    case LetterCase::kLower:
      return append_utf8(out, to_lower(c));
    case LetterCase::kUpper:
      return append_upper(out, c);
    case LetterCase::kTitle:
      return append_utf8(out, starts_word ? to_upper(c) : to_lower(c));
    case LetterCase::kCapitalize:
      return append_utf8(out, starts_text ? to_upper(c) : to_lower(c));
    case LetterCase::kSwap:
      if (is_uppercase(c)) return append_utf8(out, to_lower(c));
      return append_upper(out, c);
  }
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

void split_spaces(Heap& heap, std::string_view text, int64_t count_max, List& out) {
  size_t at = 0;
  const auto skip = [&](bool spaces) {
    while (at < text.size()) {
      const CodePoint c = decode_utf8(text, at);
      if (is_python_space(c.value) != spaces) break;
      at += c.length;
    }
  };
  for (;;) {
    skip(true);
    if (at >= text.size() || !heap.spend(1)) return;
    const size_t start = at;
    if (count_max >= 0 && static_cast<int64_t>(out.size) == count_max) {
      out.push(heap, Value::string(text.substr(start)));
      return;
    }
    skip(false);
    out.push(heap, Value::string(text.substr(start, at - start)));
  }
}

void rsplit_spaces(Heap& heap, std::string_view text, int64_t count_max, List& out) {
  for (;;) {
    text = strip(heap, text, nullptr, false, true);
    if (text.empty() || !heap.spend(1)) return;
    if (count_max >= 0 && static_cast<int64_t>(out.size) == count_max) {
      return out.push(heap, Value::string(text));
    }
    size_t start = text.size();
    while (start > 0) {
      const size_t before = previous_start(text, start);
      if (is_python_space(decode_utf8(text, before).value)) break;
      start = before;
    }
    out.push(heap, Value::string(text.substr(start)));
    text = text.substr(0, start);
  }
}

}  // namespace

bool is_python_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || is_space(c); }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

size_t character_count(Heap& heap, std::string_view text) {
  if (!heap.spend_bytes(text.size())) return 0;
  if (is_ascii(text)) return text.size();
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += decode_utf8(text, at).length) ++count;
  return count;
}

size_t byte_offset(Heap& heap, std::string_view text, size_t character) {
  if (!heap.spend_bytes(std::min(text.size(), character))) return 0;
  if (is_ascii(text.substr(0, character))) return std::min(character, text.size());
  size_t at = 0;
  for (; character > 0 && at < text.size(); --character) at += decode_utf8(text, at).length;
  return at;
}

std::span<const Value> characters(Heap& heap, const Value& value) {
  const std::string_view text = value.text();
  Value* const out = heap.array<Value>(character_count(heap, text));
  if (out == nullptr) return {};
  size_t count = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = decode_utf8(text, at).length;
    out[count++] = Value::string(text.substr(at, length));
    at += length;
  }
  return {out, count};
}

size_t find_text(Heap& heap, std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size() || needle.size() > text.size() - from) return kNotFound;
  if (needle.empty()) return from;
  // Linear in the text for any needle: the plain search would be quadratic for a long one.
  constexpr size_t kShortNeedle = 16;
  size_t at = kNotFound;
  if (needle.size() <= kShortNeedle) {
    at = text.find(needle, from);
  } else if (const void* hit =
                 memmem(text.data() + from, text.size() - from, needle.data(), needle.size())) {
    at = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
  }
  const size_t passed = (at == kNotFound ? text.size() : at) - from;
  return heap.spend_bytes(passed + needle.size()) ? at : kNotFound;
}

size_t rfind_text(Heap& heap, std::string_view text, std::string_view needle) {
  if (needle.size() > text.size()) return kNotFound;
  const size_t last = text.size() - needle.size();
  size_t at = last + 1;
  while (at-- > 0) {
    if (!needle.empty() && text[at] != needle[0]) continue;
    // Charged as a comparison of the whole needle: repetitive text cannot buy quadratic time.
    if (!heap.spend_bytes(needle.size())) return kNotFound;
    if (text.compare(at, needle.size(), needle) == 0) break;
  }
  // at wrapped around when nothing was found.
  const bool found = at <= last;
  return heap.spend_bytes(found ? last - at : text.size()) && found ? at : kNotFound;
}

std::string_view strip(Heap& heap, std::string_view text, const std::string_view* chars, bool left,
                       bool right) {
  const auto drops = [&](size_t at, size_t length) {
    if (chars == nullptr) return is_python_space(decode_utf8(text, at).value);
    return chars->find(text.substr(at, length)) != kNotFound;
  };
  const size_t size_before = text.size();
  while (left && !text.empty()) {
    const size_t length = decode_utf8(text, 0).length;
    if (!drops(0, length)) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    const size_t start = previous_start(text, text.size());
    if (!drops(start, text.size() - start)) break;
    text.remove_suffix(text.size() - start);
  }
  heap.spend_bytes((size_before - text.size()) * (chars == nullptr ? 1 : 1 + chars->size()));
  return text;
}

std::string_view replace_text(Heap& heap, std::string_view text, std::string_view from,
                              std::string_view to, int64_t count_max) {
  std::string out;
  size_t at = 0;
  int64_t count = 0;
  if (from.empty()) {  // Python inserts `to` before every character and at the end
    while (count_max < 0 || count < count_max) {
      if (!put(heap, out, to)) return {};
      ++count;
      if (at >= text.size()) break;
      const size_t length = decode_utf8(text, at).length;
      if (!put(heap, out, text.substr(at, length))) return {};
      at += length;
    }
    if (!put(heap, out, text.substr(std::min(at, text.size())))) return {};
    return heap.copy(out);
  }
  while (count_max < 0 || count < count_max) {
    const size_t hit = find_text(heap, text, from, at);
    if (hit == kNotFound) break;
    if (!put(heap, out, text.substr(at, hit - at)) || !put(heap, out, to)) return {};
    at = hit + from.size();
    ++count;
  }
  if (count == 0) return text;
  if (!put(heap, out, text.substr(at))) return {};
  return heap.copy(out);
}

std::string_view change_case(Heap& heap, std::string_view text, LetterCase to) {
  if (!heap.spend_bytes(text.size() * 2)) return {};
  std::string out;
  out.reserve(text.size());
  bool after_letter = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode_utf8(text, at);
    if (c.valid) {
      append_case(out, c.value, to, !after_letter, at == 0);
    } else {
      out += text[at];
    }
    after_letter = c.valid && cased(c.value);
    at += c.length;
  }
  return heap.copy(out);
}

std::vector<std::string_view> split_lines(Heap& heap, std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0, at = 0;
  while (at < text.size() && heap.spend_bytes(0)) {
    size_t length = 0;
    while (at < text.size()) {
      const CodePoint c = decode_utf8(text, at);
      length = c.length;
      if (is_line_end(c.value)) break;
      at += length;
    }
    if (at >= text.size()) break;
    const size_t end = at;
    at += text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n' ? 2 : length;
    lines.push_back(text.substr(start, (keep_ends ? at : end) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  heap.spend_bytes(text.size() * 4 + lines.size() * sizeof(std::string_view));
  return lines;
}

Value split(Heap& heap, std::string_view text, const std::string_view* separator, int64_t count_max,
            bool from_right) {
  const Value result = make_list(heap, {});
  List& out = result.list();
  if (!heap.spend_bytes(text.size())) return result;
  if (separator == nullptr) {
    (from_right ? rsplit_spaces : split_spaces)(heap, text, count_max, out);
  } else if (separator->empty()) {
    heap.fail("empty separator");
  } else if (!from_right) {
    size_t at = 0;
    while (count_max < 0 || static_cast<int64_t>(out.size) < count_max) {
      const size_t hit = find_text(heap, text, *separator, at);
      if (hit == kNotFound) break;
      out.push(heap, Value::string(text.substr(at, hit - at)));
      at = hit + separator->size();
    }
    out.push(heap, Value::string(text.substr(at)));
  } else {
    while (count_max < 0 || static_cast<int64_t>(out.size) < count_max) {
      const size_t hit = rfind_text(heap, text, *separator);
      if (hit == kNotFound) break;
      out.push(heap, Value::string(text.substr(hit + separator->size())));
      text = text.substr(0, hit);
    }
    out.push(heap, Value::string(text));
  }
  if (from_right) std::reverse(out.items, out.items + out.size);
  return result;
}

std::string_view escape_html(Heap& heap, std::string_view text) {
  std::string out;
  for (const char c : text) {
    const std::string_view piece = c == '&'    ? "&amp;"
                                   : c == '<'  ? "&lt;"
                                   : c == '>'  ? "&gt;"
                                   : c == '\'' ? "&#39;"
                                   : c == '"'  ? "&#34;"
                                               : std::string_view(&c, 1);
    if (!put(heap, out, piece)) return {};
  }
  return heap.copy(out);
}

bool put(Heap& heap, std::string& out, std::string_view text) {
  if (!heap.spend_bytes(text.size())) return false;
  if (out.size() + text.size() > heap.limits().output_bytes_max) {
    heap.fail("the template builds more than %llu MB of text",
              static_cast<unsigned long long>(heap.limits().output_bytes_max >> 20));
    return false;
  }
  out.append(text);
  return true;
}

bool put_repeated(Heap& heap, std::string& out, char c, int64_t count) {
  if (count <= 0) return !heap.failed();
  if (static_cast<uint64_t>(count) >
      heap.limits().output_bytes_max -
          std::min<uint64_t>(out.size(), heap.limits().output_bytes_max)) {
    heap.fail("padding of %lld characters is too much", static_cast<long long>(count));
    return false;
  }
  if (!heap.spend_bytes(static_cast<uint64_t>(count))) return false;
  out.append(static_cast<size_t>(count), c);
  return true;
}

}  // namespace geist::text::jinja
