// Python's ways to write values as text: repr() of numbers and strings, "%s %05d" % ...,
// str.format() and round(). Widths and precisions come from the template, so each is capped.
#pragma once

#include "text/jinja_call.h"
#include "text/jinja_value.h"

namespace geist::text::jinja {

// repr(float): the shortest digits that read back as the same double, exponent from 1e16 and 1e-5.
void append_float(std::string& out, double value);
// repr(str), with Python's choice of quotes.
void append_quoted(std::string& out, std::string_view text);

// `format % value`, as Python does it for strings.
Value format_percent(Heap& heap, std::string_view format, const Value& value);
// str.format(*args, **kwargs).
Value format_braces(Heap& heap, std::string_view format, const Arguments& arguments);

// round(value, digits) to the nearest, ties to even, on the exact decimal value.
double round_decimal(double value, int64_t digits);

// int(text, base) and float(text); false when the text is not a number.
bool parse_integer(std::string_view text, int64_t base, int64_t* out);
bool parse_float(std::string_view text, double* out);

}  // namespace geist::text::jinja
