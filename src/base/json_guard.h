// A look at JSON text before a parser gets it: nesting that a hostile file could make as deep as it
// is long would exhaust a recursive parser's stack, and its memory in any case.
#pragma once

#include <string_view>

namespace geist {

// False when objects and arrays are nested deeper than depth_max. One pass, no memory; the text
// need not be valid JSON.
bool json_depth_within(std::string_view json, int depth_max);

}  // namespace geist
