#include "train/plan.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace geist::train {
namespace {

constexpr double kDay = 86400, kTokensPerParameter = 20;
constexpr double kUsableMemory = 0.95;  // the rest: communication buffers, fragmentation

double whole_share(double total, double parts) { return std::ceil(total / parts); }

// What a token leaves behind for the backward pass in one layer, in elements: the inputs and
// outputs of two norms, q, k, v, the heads' output, and the MLP before its activation, which is
// computed again. Kept whole or, with recomputation, only the layer's input.
double kept_elements(const PlanOptions& o) {
  const PlanShape& s = o.shape;
  const auto width = static_cast<double>(s.width), kv = static_cast<double>(s.kv_width);
  if (o.recompute) return width;
  return 4 * width + (width + 2 * kv) + width +
         (s.gated ? 2.0 : 1.0) * static_cast<double>(s.feed_forward);
}

PlanLayout lay_out(const PlanOptions& o, int64_t tensor, int64_t pipeline, int64_t data) {
  PlanLayout l{.tensor = tensor, .pipeline = pipeline, .data = data};
  const auto t = static_cast<double>(tensor), p = static_cast<double>(pipeline);
  const auto d = static_cast<double>(data), layers = static_cast<double>(o.shape.layers);
  const double own = o.parameters / (t * p), width = static_cast<double>(o.shape.width);
  const double pass = o.context * o.rows;  // tokens
  l.microbatches = std::max(1.0, o.batch_tokens / (pass * d));
  l.weights = own * o.weight_bytes;
  l.gradients = own * o.gradient_bytes;
  l.optimizer = own * o.optimizer_bytes / d;
  // The first stage holds a pass for each stage behind it (one forward, one backward in turn).
  const double passes = std::min(p, l.microbatches), layers_here = whole_share(layers, p);
  l.activations = pass * o.activation_bytes * kept_elements(o) / t * layers_here * passes;
  if (o.recompute)  // one layer's insides at a time
    l.activations += pass * o.activation_bytes * 16 * width / t;

  // Times of one pass through one stage; the backward pass is two thirds.
  const double arithmetic = (o.recompute ? 8 : 6) * own * pass / o.flops_per_s;
  // Four times a layer the tokens are summed over the tensor parallel group: rings.
  const double rings = 4 * layers_here * pass * width * o.activation_bytes;
  l.tensor_wait = rings * 2 * (t - 1) / t / o.node_bytes_per_s / arithmetic;
  l.bubble = (p - 1) / l.microbatches;
  // Gradients are scattered and weights gathered once a step, while the backward pass runs.
  const double step = arithmetic * l.microbatches;
  const double reduction =
      own * (o.gradient_bytes + o.weight_bytes) * (d - 1) / d / o.network_bytes_per_s;
  l.data_wait = std::max(0.0, reduction - step * 2 / 3) / step;
  return l;
}

struct Search {
  std::optional<PlanLayout> best;
  PlanLayout smallest;  // of those that do not fit
};

Search search_layout(const PlanOptions& o) {
  Search found;
  const auto devices = static_cast<int64_t>(o.devices);
  for (int64_t t = 1; t <= std::min(devices, o.devices_per_node); t *= 2) {
    for (int64_t p = 1; p <= o.shape.layers && t * p <= devices; ++p) {
      if (devices % (t * p) != 0) continue;
      const int64_t d = devices / (t * p);
      if (d > 1 && o.batch_tokens < o.context * o.rows * static_cast<double>(d)) continue;
      const PlanLayout l = lay_out(o, t, p, d);
      if (found.smallest.total() == 0 || l.total() < found.smallest.total()) found.smallest = l;
      if (l.total() > o.memory_bytes * kUsableMemory) continue;
      if (!found.best || l.cost() < found.best->cost()) found.best = l;
    }
  }
  return found;
}

double default_batch(double parameters) {
  return parameters < 1e9 ? 0.5e6 : parameters < 1e10 ? 1e6 : parameters < 1e11 ? 4e6 : 16e6;
}

}  // namespace

PlanShape PlanShape::like(double parameters) {
  // 12.5 width^2 parameters a layer, width = 128 layers.
  const double width = std::cbrt(parameters * 128 / 12.5);
  PlanShape s;
  s.layers = std::max<int64_t>(1, std::llround(width / 128));
  s.width = s.layers * 128;
  s.kv_width = std::min<int64_t>(s.width, 1024);
  s.feed_forward = s.width * 7 / 2;
  return s;
}

Result<Plan> make_plan(const PlanOptions& options) {
  Plan plan;
  plan.options = options;
  PlanOptions& o = plan.options;
  if (o.shape.layers == 0) o.shape = PlanShape::like(o.parameters);
  plan.optimal_tokens = kTokensPerParameter * o.parameters;
  if (o.tokens == 0) o.tokens = plan.optimal_tokens;
  if (o.batch_tokens == 0) o.batch_tokens = std::max(o.context, default_batch(o.parameters));
  if (o.context > o.batch_tokens)
    return errorf("a batch of %.0f tokens is smaller than one row of %.0f", o.batch_tokens,
                  o.context);
  plan.model_flops = 6 * o.parameters * o.tokens;
  plan.flops = o.recompute ? plan.model_flops * 8 / 6 : plan.model_flops;
  plan.attention_share =
      6 * static_cast<double>(o.shape.layers * o.shape.width) * o.context / (6 * o.parameters);
  plan.optimal_parameters = std::sqrt(plan.model_flops / (6 * kTokensPerParameter));
  const double seconds = plan.flops / (o.devices * o.flops_per_s * o.goodput);
  plan.days = seconds / kDay;
  plan.device_hours = seconds * o.devices / 3600;
  plan.energy_joules = seconds * o.devices * o.watts * o.pue;
  plan.steps = std::ceil(o.tokens / o.batch_tokens);
  plan.tokens_per_s = o.tokens / seconds;
  plan.data_bytes = o.tokens * o.token_bytes;
  plan.checkpoint_bytes = o.parameters * (o.weight_bytes + o.optimizer_bytes);
  const Search found = search_layout(o);
  if (!found.best) {
    if (found.smallest.total() == 0)
      return errorf(
          "%.0f devices have no layout in which each data parallel group gets a row of a batch of "
          "%.3g tokens: give --batch-tokens or another number of devices",
          o.devices, o.batch_tokens);
    return errorf(
        "%.0f devices of %.0f GB are too small: the least is %.1f GB a device (tensor %lld, "
        "pipeline %lld, data %lld); try more devices, --recompute or a shorter --context",
        o.devices, o.memory_bytes * 1e-9, found.smallest.total() * 1e-9,
        static_cast<long long>(found.smallest.tensor),
        static_cast<long long>(found.smallest.pipeline),
        static_cast<long long>(found.smallest.data));
  }
  plan.layout = *found.best;
  return plan;
}

}  // namespace geist::train
