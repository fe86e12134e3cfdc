// The lexer: template text to tokens, with Jinja's whitespace control under trim_blocks and
// lstrip_blocks. Whitespace is settled here, the parser sees data tokens that print as they are.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::text::jinja {

enum class TokenKind : uint8_t {
  kData,
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text is the operator
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string_view text;  // unescaped, for strings
  size_t offset;
  int64_t integer = 0;
  double real = 0;
};

struct Tokens {
  std::vector<Token> list;        // ends with kEnd
  std::deque<std::string> owned;  // strings that needed unescaping
};

// Line ends become \n and one final line end is dropped, as Jinja does before anything else.
std::string normalize_source(std::string_view source);

// Tokens view `source`, which must outlive them. Errors name line and column.
Result<Tokens> tokenize(std::string_view source);

// "line L, column C" of a byte offset; columns count bytes from 1.
std::string position_of(std::string_view source, size_t offset);
int line_of(std::string_view source, size_t offset);

}  // namespace geist::text::jinja
