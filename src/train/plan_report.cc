// A plan as text and as JSON.
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "train/plan.h"

namespace geist::train {
namespace {

__attribute__((format(printf, 2, 3))) void line(std::string* out, const char* pattern, ...) {
  char buffer[256];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(buffer, sizeof buffer, pattern, arguments);
  va_end(arguments);
  *out += buffer;
  *out += '\n';
}

// 4.05e11: "405 G".
std::string scaled(double v) {
  static constexpr const char* kUnits[] = {"", " k", " M", " G", " T", " P", " E"};
  size_t unit = 0;
  for (; v >= 999.5 && unit + 1 < std::size(kUnits); ++unit) v /= 1000;
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g%s", v, kUnits[unit]);
  return buffer;
}

std::string duration(double days) {
  char buffer[32];
  const double hours = days * 24, seconds = days * 86400;
  std::snprintf(buffer, sizeof buffer,
                days >= 2         ? "%.1f days"
                : seconds >= 3600 ? "%.1f hours"
                                  : "%.1f s",
                days >= 2         ? days
                : seconds >= 3600 ? hours
                                  : seconds);
  return buffer;
}

}  // namespace

std::string plan_text(const Plan& plan) {
  const PlanOptions& o = plan.options;
  const PlanLayout& l = plan.layout;
  const auto ll = [](int64_t v) { return static_cast<long long>(v); };
  std::string out;
  line(&out, "model         %s parameters: %lld layers of %lld, MLP %lld, context %.0f",
       scaled(o.parameters).c_str(), ll(o.shape.layers), ll(o.shape.width),
       ll(o.shape.feed_forward), o.context);
  line(&out, "tokens        %s in %.0f steps of %s; %sB of data", scaled(o.tokens).c_str(),
       plan.steps, scaled(o.batch_tokens).c_str(), scaled(plan.data_bytes).c_str());
  line(&out, "operations    %.3g (6 N D)%s; attention over the context: %.1f%% more",
       plan.model_flops, o.recompute ? ", a third more for recomputation" : "",
       100 * plan.attention_share);
  line(&out, "time          %s on %.0f devices at %.4g TFLOP/s: %s device hours, %s tokens/s",
       duration(plan.days).c_str(), o.devices, o.flops_per_s * 1e-12,
       scaled(plan.device_hours).c_str(), scaled(plan.tokens_per_s).c_str());
  line(&out, "energy        %sWh (%.0f W a device, %.2f of the centre for each watt)",
       scaled(plan.energy_joules / 3600).c_str(), o.watts, o.pue);
  line(&out, "layout        tensor %lld x pipeline %lld x data %lld, %.1f passes a step",
       ll(l.tensor), ll(l.pipeline), ll(l.data), l.microbatches);
  line(&out, "a device      %sB of %sB: weights %s, gradients %s, optimiser %s, activations %s",
       scaled(l.total()).c_str(), scaled(o.memory_bytes).c_str(), scaled(l.weights).c_str(),
       scaled(l.gradients).c_str(), scaled(l.optimizer).c_str(), scaled(l.activations).c_str());
  line(&out,
       "waiting       pipeline %.1f%% (one chunk of layers a stage), tensor parallel %.1f%%, data "
       "parallel %.1f%% of the "
       "arithmetic",
       100 * l.bubble, 100 * l.tensor_wait, 100 * l.data_wait);
  line(&out, "a checkpoint  %sB", scaled(plan.checkpoint_bytes).c_str());
  line(&out, "optimal       %s tokens for these parameters; %s parameters for these operations",
       scaled(plan.optimal_tokens).c_str(), scaled(plan.optimal_parameters).c_str());
  return out;
}

std::string plan_json(const Plan& plan) {
  const PlanOptions& o = plan.options;
  const PlanLayout& l = plan.layout;
  const nlohmann::ordered_json json = {{"parameters", o.parameters},
                                       {"tokens", o.tokens},
                                       {"devices", o.devices},
                                       {"layers", o.shape.layers},
                                       {"width", o.shape.width},
                                       {"feed_forward", o.shape.feed_forward},
                                       {"context", o.context},
                                       {"batch_tokens", o.batch_tokens},
                                       {"steps", plan.steps},
                                       {"model_flops", plan.model_flops},
                                       {"flops", plan.flops},
                                       {"attention_share", plan.attention_share},
                                       {"days", plan.days},
                                       {"device_hours", plan.device_hours},
                                       {"tokens_per_s", plan.tokens_per_s},
                                       {"energy_kwh", plan.energy_joules / 3.6e6},
                                       {"data_bytes", plan.data_bytes},
                                       {"checkpoint_bytes", plan.checkpoint_bytes},
                                       {"optimal_tokens", plan.optimal_tokens},
                                       {"optimal_parameters", plan.optimal_parameters},
                                       {"layout",
                                        {{"tensor", l.tensor},
                                         {"pipeline", l.pipeline},
                                         {"data", l.data},
                                         {"passes_a_step", l.microbatches},
                                         {"pipeline_wait", l.bubble},
                                         {"tensor_wait", l.tensor_wait},
                                         {"data_wait", l.data_wait}}},
                                       {"device_bytes",
                                        {{"weights", l.weights},
                                         {"gradients", l.gradients},
                                         {"optimizer", l.optimizer},
                                         {"activations", l.activations},
                                         {"total", l.total()}}}};
  return json.dump(2) + "\n";
}

}  // namespace geist::train
