// Strings as Python sees them, sequences of code points, on UTF-8 storage. Bytes that are not UTF-8
// (only a template file can bring them) count as one character each and pass through unchanged.
#pragma once

#include "text/jinja_value.h"

namespace geist::text::jinja {

bool is_python_space(char32_t c);  // str.isspace()
bool is_ascii(std::string_view text);

size_t character_count(Heap& heap, std::string_view text);
// Byte offset of a character; text.size() beyond the end.
size_t byte_offset(Heap& heap, std::string_view text, size_t character);
// The characters as strings of one character.
std::span<const Value> characters(Heap& heap, const Value& text);

// Byte offset of needle at or after `from`, npos when absent; linear time whatever the input.
size_t find_text(Heap& heap, std::string_view text, std::string_view needle, size_t from);
size_t rfind_text(Heap& heap, std::string_view text, std::string_view needle);

// str.strip(chars): without chars, whitespace.
std::string_view strip(Heap& heap, std::string_view text, const std::string_view* chars, bool left,
                       bool right);
std::string_view replace_text(Heap& heap, std::string_view text, std::string_view from,
                              std::string_view to, int64_t count_max);

enum class LetterCase { kLower, kUpper, kTitle, kCapitalize, kSwap };
std::string_view change_case(Heap& heap, std::string_view text, LetterCase to);

// str.splitlines().
std::vector<std::string_view> split_lines(Heap& heap, std::string_view text,
                                          bool keep_ends = false);
// str.split(separator, count_max) and rsplit; no separator means runs of whitespace, count_max < 0
// no limit.
Value split(Heap& heap, std::string_view text, const std::string_view* separator, int64_t count_max,
            bool from_right);

// HTML escaping as markupsafe does it.
std::string_view escape_html(Heap& heap, std::string_view text);

// Appends with the heap's accounting; false when the result would pass output_bytes_max.
bool put(Heap& heap, std::string& out, std::string_view text);
bool put_repeated(Heap& heap, std::string& out, char c, int64_t count);

}  // namespace geist::text::jinja
