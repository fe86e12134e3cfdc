#include "cli/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace geist::cli {

std::string svg_format(const char* pattern, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(line, sizeof line, pattern, arguments);
  va_end(arguments);
  return line;
}

std::string svg_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '\'' || c == '"') {
      out += "&#39;";
    } else {
      out += static_cast<unsigned char>(c) < ' ' ? '?' : c;
    }
  }
  return out;
}

const char* svg_colour(size_t index) {
  static constexpr const char* kColours[] = {"#3b82f6", "#ef4444", "#10b981",
                                             "#a855f7", "#f59e0b", "#06b6d4"};
  return kColours[index % std::size(kColours)];
}

std::string svg_document(double width, double height, std::string_view body) {
  std::string out = svg_format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' width='%.0f' height='%.0f' "
      "font-family='sans-serif' font-size='11'>",
      width, height, width, height);
  out +=
      "<style>.page{fill:#fff}.grid{stroke:#e5e7eb}.quiet{fill:#6b7280}text{fill:#111827}"
      "@media(prefers-color-scheme:dark){.page{fill:#111827}.grid{stroke:#374151}"
      ".quiet{fill:#9ca3af}text{fill:#f3f4f6}}</style><rect class='page' width='100%' "
      "height='100%'/>";
  out += body;
  return out + "</svg>\n";
}

SvgAxis SvgAxis::over(double low, double high, bool may_log) {
  SvgAxis axis;
  axis.log = may_log && low > 0 && high / low > 100;
  if (low == high) {
    const double room = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= room;
    high += room;
  }
  axis.low = low;
  axis.high = high;
  return axis;
}

double SvgAxis::at(double value) const {
  const double v = std::clamp(value, low, high);
  const double share = log ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
  return at_low + share * (at_high - at_low);
}

std::vector<double> SvgAxis::ticks() const {
  std::vector<double> out;
  if (log) {
    const double decades = std::log10(high / low);
    const int step = std::max(1, static_cast<int>(std::lround(decades / 5)));
    for (int e = static_cast<int>(std::ceil(std::log10(low))); std::pow(10.0, e) <= high * 1.0001;
         e += step)
      out.push_back(std::pow(10.0, e));
    return out;
  }
  const double rough = (high - low) / 5, power = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / power;
  const double step = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i)
    out.push_back(i == 0 ? 0 : i * step);
  return out;
}

std::string svg_tick(double value) {
  if (std::abs(value) >= 10000) return svg_format("%gk", value / 1000);
  return svg_format("%.6g", value);
}

}  // namespace geist::cli
