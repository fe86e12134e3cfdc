// UTF-8 and the character classes that tokenizers need. Categories come from utf8proc (Unicode 15).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace geist {

// One decoded code point. Invalid input (overlong, surrogate, truncated, above U+10FFFF) decodes as
// {U+FFFD, length 1, valid false}, byte by byte, so that every byte belongs to exactly one code
// point.
struct CodePoint {
  char32_t value;
  uint8_t length;
  bool valid;
};

// Precondition: offset < text.size().
CodePoint decode_utf8(std::string_view text, size_t offset);
void append_utf8(std::string& out, char32_t code_point);
bool is_valid_utf8(std::string_view text);

// The length of the longest prefix of text that does not end inside a character: what a streaming
// printer may show now.
size_t complete_utf8_prefix(std::string_view text);

bool is_letter(char32_t c);           // general category L*
bool is_number(char32_t c);           // N*
bool is_mark(char32_t c);             // M*
bool is_punctuation(char32_t c);      // P*
bool is_symbol(char32_t c);           // S*
bool is_uppercase(char32_t c);        // Lu
bool is_titlecase(char32_t c);        // Lt
bool is_lowercase(char32_t c);        // Ll
bool is_modifier_letter(char32_t c);  // Lm
bool is_other_letter(char32_t c);     // Lo
bool is_control(char32_t c);          // Cc, Cf, Cn, Co, Cs
bool is_space(char32_t c);  // White_Space property (what \s means in Unicode regular expressions)

char32_t to_lower(char32_t c);
char32_t to_upper(char32_t c);

// The canonical decomposition of one code point (NFD but for the order of marks): how many code
// points it gives, at most kDecomposedMax.
constexpr size_t kDecomposedMax = 4;
size_t decompose(char32_t c, char32_t out[kDecomposedMax]);

}  // namespace geist
