// Exact grading of the small world's problems. The check is a JSON object:
//   {"kind": "exact", "value": "..."}             the answer, white space at its ends apart
//   {"kind": "number", "value": "14"}             the number behind the last "Answer:"
//   {"kind": "word", "value": "harbour", "not": ["mill"]}  that word is in it, none of the others
//   {"kind": "tool_call", "name": "...", "arguments": {...}}  one call, with these arguments
#pragma once

#include <string_view>

#include "base/result.h"

namespace geist::train {

struct Grade {
  bool right = false;
  // Of tool calls: well formed, and of the tool that was wanted, whatever its arguments. Else =
  // right.
  bool valid = false;
};

// An error when the check itself is off; any answer has a grade.
Result<Grade> grade(std::string_view check, std::string_view answer);

}  // namespace geist::train
