#include "cli/train_plot.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "cli/svg.h"

namespace geist::cli {
namespace {

using train::HistoryPoint;
using Points = std::vector<HistoryPoint>;

constexpr double kWidth = 760, kLeft = 64, kRight = 16, kPanel = 190, kGap = 52, kTop = 40;
constexpr size_t kBuckets =
    300;  // of a curve with more points: their mean, and their range behind it

// What a run says of its speed and counts is no curve.
bool is_curve(const std::string& key) {
  static const std::set<std::string> kOthers = {"tokens", "tokens_per_s", "seconds", "rows",
                                                "peak_bytes"};
  return !kOthers.contains(key);
}

// "validation_loss" stands in the panel of "loss".
std::string panel_of(const std::string& key) {
  static const std::string kPrefix = "validation_";
  return key.starts_with(kPrefix) ? key.substr(kPrefix.size()) : key;
}

std::vector<std::string> panels(std::span<const PlottedRun> runs) {
  std::set<std::string> found;
  for (const PlottedRun& run : runs)
    for (const auto& [key, points] : run.history.series)
      if (is_curve(key) && !points.empty()) found.insert(panel_of(key));
  std::vector<std::string> ordered;
  for (const char* first :
       {"loss", "reward", "kl", "entropy", "bits_per_byte", "gradient_norm", "learning_rate"})
    if (found.erase(first) > 0) ordered.emplace_back(first);
  ordered.insert(ordered.end(), found.begin(), found.end());
  return ordered;
}

struct Curve {
  const Points* points;
  std::string name;
  size_t colour;
  bool validation;
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
};

class Panel {
 public:
  Panel(std::string title, std::vector<Curve> curves, double top)
      : title_(std::move(title)), curves_(std::move(curves)), top_(top) {
    Range steps, values;
    for (const Curve& c : curves_) {
      for (const HistoryPoint& p : *c.points) {
        steps.add(p.step);
        values.add(p.value);
      }
    }
    x_ = SvgAxis::over(steps.low, steps.high, false);
    y_ = SvgAxis::over(values.low, values.high, true);
    x_.at_low = kLeft;
    x_.at_high = kWidth - kRight;
    y_.at_low = top_ + kPanel;
    y_.at_high = top_;
  }

  std::string draw() const {
    std::string out = svg_format("<text x='%.1f' y='%.1f' font-size='13'>", kLeft, top_ - 8);
    out += svg_escape(title_) + (y_.log ? " (decades)" : "") + "</text>";
    draw_grid(out);
    for (const Curve& curve : curves_) draw_curve(curve, out);
    draw_legend(out);
    return out;
  }

 private:
  void draw_grid(std::string& out) const {
    for (const double v : x_.ticks()) {
      const double x = x_.at(v);
      out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", x, top_, x,
                        top_ + kPanel);
      out += svg_format("<text class='quiet' x='%.1f' y='%.1f' text-anchor='middle'>%s</text>", x,
                        top_ + kPanel + 15, svg_tick(v).c_str());
    }
    for (const double v : y_.ticks()) {
      const double y = y_.at(v);
      out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", kLeft, y,
                        kWidth - kRight, y);
      out += svg_format("<text class='quiet' x='%.1f' y='%.1f' text-anchor='end'>%s</text>",
                        kLeft - 6, y + 4, svg_tick(v).c_str());
    }
    out += svg_format("<text class='quiet' x='%.1f' y='%.1f' text-anchor='end'>step</text>",
                      kWidth - kRight, top_ + kPanel + 28);
  }

  std::string polyline(const Points& points, const char* style) const {
    std::string out =
        "<polyline fill='none' stroke-linejoin='round' " + std::string(style) + " points='";
    for (const HistoryPoint& p : points)
      out += svg_format("%.1f,%.1f ", x_.at(p.step), y_.at(p.value));
    return out + "'/>";
  }

  void draw_curve(const Curve& curve, std::string& out) const {
    const char* colour = svg_colour(curve.colour);
    Points means = *curve.points;
    if (means.size() > kBuckets) means = draw_band(*curve.points, colour, out);
    const char* dash = curve.validation ? " stroke-dasharray='5 3'" : "";
    out += polyline(means, svg_format("stroke='%s' stroke-width='1.5'%s", colour, dash).c_str());
    if (means.size() > 40 && !(means.size() == 1)) return;
    for (const HistoryPoint& p : means)
      out += svg_format("<circle cx='%.1f' cy='%.1f' r='2' fill='%s'/>", x_.at(p.step),
                        y_.at(p.value), colour);
  }

  // The range of each bucket as an area; returns the means.
  Points draw_band(const Points& points, const char* colour, std::string& out) const {
    Points means;
    std::string upper, lower;
    for (size_t b = 0; b < kBuckets; ++b) {
      const size_t begin = b * points.size() / kBuckets, end = (b + 1) * points.size() / kBuckets;
      Range range;
      double sum = 0, steps = 0;
      for (size_t i = begin; i < end; ++i) {
        range.add(points[i].value);
        sum += points[i].value;
        steps += points[i].step;
      }
      const auto count = static_cast<double>(end - begin);
      means.push_back({steps / count, sum / count});
      const double x = x_.at(steps / count);
      upper += svg_format("%.1f,%.1f ", x, y_.at(range.high));
      lower.insert(0, svg_format("%.1f,%.1f ", x, y_.at(range.low)));
    }
    out += svg_format("<polygon fill='%s' fill-opacity='0.18' points='", colour) + upper + lower +
           "'/>";
    return means;
  }

  void draw_legend(std::string& out) const {
    double x = kWidth - kRight;
    for (size_t i = curves_.size(); i-- > 0;) {
      const Curve& c = curves_[i];
      const std::string name = c.validation ? c.name + " validation" : c.name;
      out += svg_format("<text x='%.1f' y='%.1f' text-anchor='end'>", x, top_ - 8) +
             svg_escape(name) + "</text>";
      x -= 6.2 * static_cast<double>(name.size()) + 6;
      out += svg_format(
          "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s' stroke-width='2'%s/>", x - 18,
          top_ - 12, x, top_ - 12, svg_colour(c.colour),
          c.validation ? " stroke-dasharray='5 3'" : "");
      x -= 30;
      if (x < kLeft + 150) break;  // the rest would stand in the title
    }
  }

  std::string title_;
  std::vector<Curve> curves_;
  double top_;
  SvgAxis x_, y_;
};

}  // namespace

std::string train_plot_svg(std::span<const PlottedRun> runs) {
  std::string body;
  double top = kTop;
  for (const std::string& title : panels(runs)) {
    std::vector<Curve> curves;
    for (size_t i = 0; i < runs.size(); ++i) {
      for (const auto& [key, points] : runs[i].history.series)
        if (is_curve(key) && panel_of(key) == title && !points.empty())
          curves.push_back({&points, runs[i].name, i, key != title});
    }
    body += Panel(title, std::move(curves), top).draw();
    top += kPanel + kGap;
  }
  return svg_document(kWidth, top, body);
}

}  // namespace geist::cli
