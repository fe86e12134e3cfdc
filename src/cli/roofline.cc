#include "cli/roofline.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/svg.h"

namespace geist::cli {
namespace {

// A decode step reads all weights again; the tokens of a prefill share one reading.
model::PassCost cost_of(const LoadedModel& loaded, const BenchWork& work) {
  const int64_t steps = work.prefill ? 1 : work.tokens;
  model::PassCost sum;
  for (int64_t step = 0; step < steps; ++step) {
    const model::PassCost one = model::pass_cost(*loaded.model,
                                                 {.tokens = work.prefill ? work.tokens : 1,
                                                  .depth = work.depth + step,
                                                  .sequences = work.batch},
                                                 loaded.kv_type);
    sum.weight_bytes += one.weight_bytes;
    sum.kv_bytes += one.kv_bytes;
    sum.int8_ops += one.int8_ops;
    sum.float_ops += one.float_ops;
  }
  return sum;
}

double ops(const model::PassCost& cost) { return cost.int8_ops + cost.float_ops; }

// Operations a second when computing is all there is to do, for this mix of the two kinds.
double compute_roof(const RooflineRow& row) {
  return ops(row.cost) / (row.cost.int8_ops / row.limits.int8_ops_per_s +
                          row.cost.float_ops / row.limits.float_ops_per_s);
}

std::string work_name(const RooflineRow& row) {
  const BenchWork& work = row.measured.work;
  std::string name = work.name();
  if (work.prefill) name += svg_format(" %d", work.tokens);
  if (work.batch > 1) name += svg_format(" x %d", work.batch);
  if (work.depth > 0) name += svg_format(" at %d", work.depth);
  return name;
}

// Axes of the picture: decades of operations a byte (x) and Gop/s (y).
struct Axes {
  static constexpr double kLeft = 70, kTop = 50, kWidth = 620, kHeight = 360;
  double x_low = 0.1, x_high = 10000, y_low = 1, y_high = 10000;
  double x(double v) const {
    return kLeft +
           kWidth * std::log10(std::clamp(v, x_low, x_high) / x_low) / std::log10(x_high / x_low);
  }
  double y(double v) const {
    return kTop + kHeight -
           kHeight * std::log10(std::clamp(v, y_low, y_high) / y_low) / std::log10(y_high / y_low);
  }
};

void draw_grid(const Axes& axes, std::string& out) {
  const double bottom = Axes::kTop + Axes::kHeight, right = Axes::kLeft + Axes::kWidth;
  for (double v = axes.x_low; v <= axes.x_high * 1.01; v *= 10) {
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", axes.x(v),
                      Axes::kTop, axes.x(v), bottom);
    out += svg_format("<text x='%.1f' y='%.1f' text-anchor='middle'>%g</text>", axes.x(v),
                      bottom + 16, v);
  }
  for (double v = axes.y_low; v <= axes.y_high * 1.01; v *= 10) {
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", Axes::kLeft,
                      axes.y(v), right, axes.y(v));
    out += svg_format("<text x='%.1f' y='%.1f' text-anchor='end'>%g</text>", Axes::kLeft - 6,
                      axes.y(v) + 4, v);
  }
  out += svg_format(
      "<text x='%.1f' y='%.1f' text-anchor='middle'>operations a byte that must be read</text>",
      Axes::kLeft + Axes::kWidth / 2, bottom + 34);
  out += svg_format(
      "<text x='16' y='%.1f' transform='rotate(-90 16 %.1f)' text-anchor='middle'>Gop/s</text>",
      Axes::kTop + Axes::kHeight / 2, Axes::kTop + Axes::kHeight / 2);
}

void draw_roof(const Axes& axes, const kernels::MachineLimits& limits, double peak,
               const char* colour, std::string& out) {
  const double ridge = peak / limits.read_bytes_per_s;
  out += svg_format("<polyline fill='none' stroke='%s' points='%.1f,%.1f %.1f,%.1f %.1f,%.1f'/>",
                    colour, axes.x(axes.x_low), axes.y(limits.read_bytes_per_s * axes.x_low * 1e-9),
                    axes.x(ridge), axes.y(peak * 1e-9), axes.x(axes.x_high), axes.y(peak * 1e-9));
}

}  // namespace

double RooflineRow::share() const { return cost.seconds_at_least(limits) / measured.median_s(); }

bool RooflineRow::memory_bound() const {
  return cost.bytes() / limits.read_bytes_per_s >= ops(cost) / compute_roof(*this);
}

std::vector<RooflineRow> make_roofline(const LoadedModel& loaded,
                                       std::span<const Measurement> measurements) {
  std::map<int, kernels::MachineLimits> limits;
  std::vector<RooflineRow> rows;
  for (const Measurement& m : measurements) {
    if (!limits.contains(m.threads)) {
      ThreadPool pool(m.threads);
      limits[m.threads] = kernels::measure_machine_limits(loaded.model->kernels().isa, pool);
    }
    rows.push_back({m, limits[m.threads], cost_of(loaded, m.work)});
  }
  return rows;
}

std::string roofline_text(std::span<const RooflineRow> rows) {
  std::string out =
      "work                  threads   GB read  of them KV  Gop int8  Gop float   limit s  "
      "measured s  share  bound by\n";
  for (const RooflineRow& row : rows) {
    out += svg_format("%-22s %6d %9.3f %11.3f %9.2f %10.2f %9.4f %11.4f %5.0f%%  %s\n",
                      work_name(row).c_str(), row.measured.threads, row.cost.bytes() * 1e-9,
                      row.cost.kv_bytes * 1e-9, row.cost.int8_ops * 1e-9, row.cost.float_ops * 1e-9,
                      row.cost.seconds_at_least(row.limits), row.measured.median_s(),
                      100 * row.share(), row.memory_bound() ? "memory" : "arithmetic");
  }
  int threads = 0;
  for (const RooflineRow& row : rows) {
    if (row.measured.threads == threads) continue;
    threads = row.measured.threads;
    out += svg_format("limits of %d thread%s: %.1f GB/s read, %.0f Gop/s float, %.0f Gop/s int8\n",
                      threads, threads == 1 ? "" : "s", row.limits.read_bytes_per_s * 1e-9,
                      row.limits.float_ops_per_s * 1e-9, row.limits.int8_ops_per_s * 1e-9);
  }
  return out;
}

nlohmann::ordered_json roofline_json(std::span<const RooflineRow> rows) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const RooflineRow& row : rows) {
    out.push_back({{"work", row.measured.work.name()},
                   {"threads", row.measured.threads},
                   {"tokens", row.measured.work.tokens},
                   {"depth", row.measured.work.depth},
                   {"batch", row.measured.work.batch},
                   {"weight_bytes", row.cost.weight_bytes},
                   {"kv_bytes", row.cost.kv_bytes},
                   {"int8_ops", row.cost.int8_ops},
                   {"float_ops", row.cost.float_ops},
                   {"read_bytes_per_s", row.limits.read_bytes_per_s},
                   {"int8_ops_per_s", row.limits.int8_ops_per_s},
                   {"float_ops_per_s", row.limits.float_ops_per_s},
                   {"seconds_at_least", row.cost.seconds_at_least(row.limits)},
                   {"seconds", row.measured.median_s()},
                   {"share", row.share()}});
  }
  return out;
}

std::string roofline_svg(const std::string& title, std::span<const RooflineRow> rows) {
  Axes axes;
  for (const RooflineRow& row : rows)
    while (row.limits.int8_ops_per_s * 1e-9 > axes.y_high) axes.y_high *= 10;
  std::string body;
  draw_grid(axes, body);
  std::map<int, size_t> colour_of;
  for (const RooflineRow& row : rows) {
    const bool first = !colour_of.contains(row.measured.threads);
    const size_t index =
        colour_of.try_emplace(row.measured.threads, colour_of.size()).first->second;
    const char* colour = svg_colour(index);
    if (first && row.limits.read_bytes_per_s > 0) {
      draw_roof(axes, row.limits, row.limits.int8_ops_per_s, colour, body);
      draw_roof(axes, row.limits, row.limits.float_ops_per_s, colour, body);
      body += svg_format(
          "<text x='%.1f' y='%.1f' style='fill:%s'>%d thread%s: %.1f GB/s, int8 %.0f, float %.0f "
          "Gop/s</text>",
          Axes::kLeft + 10, Axes::kTop + 14 + 15 * static_cast<double>(index), colour,
          row.measured.threads, row.measured.threads == 1 ? "" : "s",
          row.limits.read_bytes_per_s * 1e-9, row.limits.int8_ops_per_s * 1e-9,
          row.limits.float_ops_per_s * 1e-9);
    }
    const double x = axes.x(ops(row.cost) / row.cost.bytes());
    const double y = axes.y(ops(row.cost) / row.measured.median_s() * 1e-9);
    body += svg_format("<circle cx='%.1f' cy='%.1f' r='4' fill='%s'/>", x, y, colour);
    body += svg_format("<text x='%.1f' y='%.1f' font-size='10' text-anchor='%s'>%s: %.0f%%</text>",
                       x + (x > 500 ? -8 : 8), y + 12, x > 500 ? "end" : "start",
                       work_name(row).c_str(), 100 * row.share());
  }
  return svg_document(720, 460,
                      "<text x='20' y='28' font-size='14'>Roofline of " + svg_escape(title) +
                          ": share of the limit that each phase reaches</text>" + body);
}

}  // namespace geist::cli
