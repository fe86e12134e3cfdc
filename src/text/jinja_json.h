// JSON in and out of template values: the rendering's context, and the tojson filter.
#pragma once

#include "text/jinja_value.h"

namespace geist::text::jinja {

// Parses a whole document (RFC 8259) into values. Keys keep their order, the last of equal keys
// wins. Strings without escapes stay views of `json`, which must outlive the heap. On a syntax
// error the heap fails with the byte offset.
Value parse_json(Heap& heap, std::string_view json);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // an indent was given: a line for each item
  std::string_view indent;
  std::string_view item_separator = ", ", key_separator = ": ";
};

// json.dumps() of Python: the same spaces, escapes and float digits.
void append_json(Heap& heap, std::string& out, const Value& value, const JsonStyle& style);

}  // namespace geist::text::jinja
