#include "cli/calibration_plot.h"

#include <algorithm>

#include "cli/svg.h"

namespace geist::cli {
namespace {

constexpr double kSize = 420, kLeft = 56, kTop = 44, kSide = 330;

double x_of(double sure) { return kLeft + (sure - 0.5) * 2 * kSide; }
double y_of(double right) { return kTop + (1 - right) * kSide; }

std::string axes() {
  std::string out;
  for (int i = 0; i <= 5; ++i) {
    const double sure = 0.5 + 0.1 * i, right = 0.2 * i;
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", x_of(sure),
                      kTop, x_of(sure), kTop + kSide);
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", kLeft,
                      y_of(right), kLeft + kSide, y_of(right));
    out += svg_format("<text class='quiet' x='%.1f' y='%.1f' text-anchor='middle'>%.1f</text>",
                      x_of(sure), kTop + kSide + 16, sure);
    out += svg_format("<text class='quiet' x='%.1f' y='%.1f' text-anchor='end'>%.1f</text>",
                      kLeft - 6, y_of(right) + 4, right);
  }
  return out;
}

}  // namespace

std::string calibration_plot(const train::RewardQuality& q) {
  std::string body = axes();
  body += svg_format(
      "<text x='%.1f' y='20'>%lld held-out pairs: accuracy %.3f, calibration error %.3f</text>",
      kLeft, static_cast<long long>(q.pairs), q.accuracy, q.calibration_error);
  body += svg_format(
      "<text class='quiet' x='%.1f' y='%.1f' text-anchor='middle'>how sure the rewards are</text>",
      kLeft + kSide / 2, kTop + kSide + 34);
  body += svg_format("<text class='quiet' x='%.1f' y='36'>how often they are right</text>", kLeft);
  body += svg_format(
      "<line class='grid' stroke-dasharray='4 4' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>",
      x_of(0.5), y_of(0.5), x_of(1), y_of(1));
  std::string line;
  int64_t most = 1;
  for (const auto& bin : q.bins) most = std::max(most, bin.pairs);
  for (const auto& bin : q.bins) {
    if (bin.pairs == 0) continue;
    line += svg_format("%.1f,%.1f ", x_of(bin.sure), y_of(bin.right));
    const double radius = 3 + 9 * static_cast<double>(bin.pairs) / static_cast<double>(most);
    body += svg_format(
        "<circle cx='%.1f' cy='%.1f' r='%.1f' fill='%s' fill-opacity='0.7'><title>%lld "
        "pairs</title></circle>",
        x_of(bin.sure), y_of(bin.right), radius, svg_colour(0), static_cast<long long>(bin.pairs));
  }
  body +=
      svg_format("<polyline fill='none' stroke='%s' points='%s'/>", svg_colour(0), line.c_str());
  return svg_document(kSize, kSize, body);
}

}  // namespace geist::cli
