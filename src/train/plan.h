// What a run of training would take, on paper: operations, days, energy, the memory of a device,
// and how the work is laid out over devices. docs/plan.md derives each figure and compares them
// with published runs.
//
// The layout is the one of Megatron-LM (Narayanan et al., arXiv:2104.04473): tensor parallel inside
// a machine, pipeline parallel over machines, data parallel over what is left, the optimiser's
// state cut over the data parallel group (ZeRO-1: Rajbhandari et al., arXiv:1910.02054).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "train/base_stage.h"

namespace geist::train {

struct PlanShape {
  int64_t layers = 0, width = 0, kv_width = 0, feed_forward = 0;
  bool gated = true;

  // Of a model like Llama 3 with about so many parameters: width = 128 * layers.
  static PlanShape like(double parameters);
};

struct PlanOptions {
  double parameters = 0;
  double tokens = 0;  // 0: compute-optimal
  double devices = 1;
  double flops_per_s = 0;  // sustained by one device
  double goodput = 1;      // share of the time in which the run gets on
  double memory_bytes = 80e9;
  double node_bytes_per_s = 450e9, network_bytes_per_s = 50e9;  // of a device, one way
  double watts = 700, pue = 1.1;
  int64_t devices_per_node = 8;
  double context = 8192, batch_tokens = 0;  // 0: by the size of the model
  double rows = 1;                          // of the context, in one pass of a device
  double weight_bytes = 2, gradient_bytes = 4, optimizer_bytes = 12, activation_bytes = 2;
  double token_bytes = 4;  // of the data, on disk
  bool recompute = false;  // keep only the inputs of layers: a fourth more operations
  PlanShape shape = {};    // layers 0: like(parameters)
};

struct PlanLayout {
  int64_t tensor = 1, pipeline = 1, data = 1;
  double microbatches = 1;  // passes of a step, one after the other
  // Bytes of the fullest device.
  double weights = 0, gradients = 0, optimizer = 0, activations = 0;
  double total() const { return weights + gradients + optimizer + activations; }
  // Time beside the arithmetic, as shares of it.
  double bubble = 0, tensor_wait = 0, data_wait = 0;
  double cost() const { return (1 + tensor_wait) * (1 + bubble) + data_wait; }
};

struct Plan {
  PlanOptions options;         // with what was left open filled in
  double model_flops = 0;      // 6 N D
  double flops = 0;            // what the devices do: with recomputation 8 N D
  double attention_share = 0;  // of scores and values, beside model_flops and not in it
  double days = 0, device_hours = 0, energy_joules = 0;
  double steps = 0, tokens_per_s = 0;
  double data_bytes = 0, checkpoint_bytes = 0;
  double optimal_tokens = 0;      // for these parameters (Hoffmann et al., arXiv:2203.15556)
  double optimal_parameters = 0;  // for these operations
  PlanLayout layout;
};

// An error when no layout fits the devices' memory: it says what the best one would need.
Result<Plan> make_plan(const PlanOptions& options);

// The options of a recipe of geist train base on one device that holds everything in F32; its speed
// and memory are the caller's.
Result<PlanOptions> plan_options(const BaseOptions& recipe);

// As for a reader, and as JSON.
std::string plan_text(const Plan& plan);
std::string plan_json(const Plan& plan);

}  // namespace geist::train
