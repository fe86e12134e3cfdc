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

// Of the model's bytes.
std::string largest_type(const model::Model& model) {
  std::map<std::string_view, uint64_t> bytes;
  for (const gguf::Tensor& tensor : model.file().tensors())
    bytes[kernels::tensor_type_info(tensor.type).name] += tensor.data.size();
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::string(std::max_element(bytes.begin(), bytes.end(), less)->first);
}

// The picture's axes: operations a byte, and Gop/s.
constexpr double kLeft = 70, kRight = 690, kTop = 50, kBottom = 410;
struct Axes {
  SvgAxis x{0.1, 10000, kLeft, kRight, true}, y{1, 10000, kBottom, kTop, true};
};

void draw_grid(const Axes& axes, std::string& out) {
  for (const double v : axes.x.ticks()) {
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", axes.x.at(v),
                      kTop, axes.x.at(v), kBottom);
    out += svg_format("<text x='%.1f' y='%.1f' text-anchor='middle'>%s</text>", axes.x.at(v),
                      kBottom + 16, svg_tick(v).c_str());
  }
  for (const double v : axes.y.ticks()) {
    out += svg_format("<line class='grid' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", kLeft,
                      axes.y.at(v), kRight, axes.y.at(v));
    out += svg_format("<text x='%.1f' y='%.1f' text-anchor='end'>%s</text>", kLeft - 6,
                      axes.y.at(v) + 4, svg_tick(v).c_str());
  }
  constexpr double kMiddle = (kTop + kBottom) / 2;
  out += svg_format(
      "<text x='%.1f' y='%.1f' text-anchor='middle'>operations a byte that must be read</text>",
      (kLeft + kRight) / 2, kBottom + 34);
  out += svg_format(
      "<text x='16' y='%.1f' transform='rotate(-90 16 %.1f)' text-anchor='middle'>Gop/s</text>",
      kMiddle, kMiddle);
}

void draw_roof(const Axes& axes, const kernels::MachineLimits& limits, double peak,
               const char* colour, std::string& out) {
  const double ridge = peak / limits.read_bytes_per_s;
  out += svg_format("<polyline fill='none' stroke='%s' points='%.1f,%.1f %.1f,%.1f %.1f,%.1f'/>",
                    colour, kLeft, axes.y.at(limits.read_bytes_per_s * axes.x.low * 1e-9),
                    axes.x.at(ridge), axes.y.at(peak * 1e-9), kRight, axes.y.at(peak * 1e-9));
}

// Both roofs of a number of threads, and their figures in the corner.
void draw_limits(const Axes& axes, const RooflineRow& row, size_t index, std::string& out) {
  const kernels::MachineLimits& limits = row.limits;
  if (limits.read_bytes_per_s <= 0) return;
  const char* colour = svg_colour(index);
  draw_roof(axes, limits, limits.int8_ops_per_s, colour, out);
  draw_roof(axes, limits, limits.float_ops_per_s, colour, out);
  const int threads = row.measured.threads;
  out += svg_format(
      "<text x='%.1f' y='%.1f' style='fill:%s'>%d thread%s: %.1f GB/s, int8 %.0f, float %.0f "
      "Gop/s</text>",
      kLeft + 10, kTop + 14 + 15 * static_cast<double>(index), colour, threads,
      threads == 1 ? "" : "s", limits.read_bytes_per_s * 1e-9, limits.int8_ops_per_s * 1e-9,
      limits.float_ops_per_s * 1e-9);
}

// Points of one type of weights have one shape; their names stand on one side.
void draw_point(const Axes& axes, const RooflineRow& row, size_t colour, size_t type,
                std::string& out) {
  static constexpr const char* kShapes[] = {"M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", "M-4-4H4V4H-4Z",
                                            "M0-5L5 4H-5Z", "M0-6L5 0L0 6L-5 0Z"};
  const double x = axes.x.at(ops(row.cost) / row.cost.bytes());
  const double y = axes.y.at(ops(row.cost) / row.measured.median_s() * 1e-9);
  out += svg_format("<path transform='translate(%.1f %.1f)' d='%s' fill='%s'/>", x, y,
                    kShapes[type % std::size(kShapes)], svg_colour(colour));
  const bool left = type % 2 == 0;
  out += svg_format("<text x='%.1f' y='%.1f' font-size='10' text-anchor='%s'>%s %s: %.0f%%</text>",
                    x + (left ? -9 : 9), y + 4, left ? "end" : "start", row.weights.c_str(),
                    work_name(row).c_str(), 100 * row.share());
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
  const std::string weights = largest_type(*loaded.model);
  for (const Measurement& m : measurements) {
    if (!limits.contains(m.threads)) {
      ThreadPool pool(m.threads);
      limits[m.threads] = kernels::measure_machine_limits(loaded.model->kernels().isa, pool);
    }
    rows.push_back({weights, m, limits[m.threads], cost_of(loaded, m.work)});
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
                   {"weights", row.weights},
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
    while (row.limits.int8_ops_per_s * 1e-9 > axes.y.high) axes.y.high *= 10;
  std::string body;
  draw_grid(axes, body);
  std::map<int, size_t> colour_of;
  std::map<std::string, size_t> shape_of;
  for (const RooflineRow& row : rows) {
    const auto [colour, is_new] = colour_of.try_emplace(row.measured.threads, colour_of.size());
    if (is_new) draw_limits(axes, row, colour->second, body);
    const size_t shape = shape_of.try_emplace(row.weights, shape_of.size()).first->second;
    draw_point(axes, row, colour->second, shape, body);
  }
  return svg_document(720, 460,
                      "<text x='20' y='28' font-size='14'>Roofline of " + svg_escape(title) +
                          ": share of the limit that each phase reaches</text>" + body);
}

}  // namespace geist::cli
