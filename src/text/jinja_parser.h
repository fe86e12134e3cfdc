#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "text/jinja_ast.h"

namespace geist::text::jinja {

// Parses a template by Jinja's grammar (the extensions loopcontrols, do and Hugging Face's
// generation included; include, import and extends are not: a chat template stands alone). Errors
// name line and column. Nesting is bounded, so hostile sources cannot exhaust the stack.
Result<std::unique_ptr<Program>> parse_program(std::string_view source);

}  // namespace geist::text::jinja
