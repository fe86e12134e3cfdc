// What the pictures of geist share: a document that is readable on light and dark pages, text that
// cannot break out of it, axes with round ticks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace geist::cli {

std::string svg_format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
std::string svg_escape(std::string_view text);

// Colours that stand out on both pages, over and over.
const char* svg_colour(size_t index);

// Classes of body: grid (lines), quiet (text of axes); text is in the page's colour.
std::string svg_document(double width, double height, std::string_view body);

// A range of values on a length of pixels.
struct SvgAxis {
  double low = 0, high = 1;        // values; widened when equal
  double at_low = 0, at_high = 1;  // pixels
  bool log = false;

  // Over these values, in decades when they are positive and span more than two of them.
  static SvgAxis over(double low, double high, bool may_log);
  double at(double value) const;
  std::vector<double> ticks() const;  // round numbers, at most about six
};

std::string svg_tick(double value);  // "0.001", "5e-05", "20k"

}  // namespace geist::cli
