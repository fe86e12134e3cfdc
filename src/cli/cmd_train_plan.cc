// geist train plan: what a run would take, at any scale, on paper.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/output.h"
#include "kernels/kernels.h"
#include "kernels/machine_limits.h"
#include "train/base_stage.h"
#include "train/plan.h"

namespace geist::cli {
namespace {

constexpr double kShareOfPeak = 0.6;  // of this machine's arithmetic, that our steps sustain

struct Options {
  std::string recipe;
  train::PlanOptions plan;
  double tflops = 0, memory_gb = 0, bandwidth_gb = 0, node_bandwidth_gb = 0;
  bool json = false;
};

// What a recipe asks of this machine: F32, one device.
Status take_recipe(Options& options) {
  GEIST_ASSIGN(const train::Recipe recipe, train::Recipe::open(options.recipe));
  GEIST_ASSIGN(const train::BaseOptions base, train::read_base_recipe(recipe, options.recipe));
  GEIST_ASSIGN(options.plan, train::plan_options(base));
  if (options.memory_gb == 0)
    options.memory_gb = 1e-9 * static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(sysconf(_SC_PAGESIZE));
  if (options.tflops == 0) {
    ThreadPool pool(0);
    const char* error = nullptr;
    const kernels::Kernels* best = kernels::default_kernels(&error);
    if (best == nullptr) return errorf("%s", error);
    const auto limits = kernels::measure_machine_limits(best->isa, pool);
    options.tflops = kShareOfPeak * limits.float_ops_per_s * 1e-12;
    note("this machine: %.3f TFLOP/s, of which a step sustains %.0f%%",
         limits.float_ops_per_s * 1e-12, 100 * kShareOfPeak);
  }
  return {};
}

int run(Options options) {
  train::PlanOptions& p = options.plan;
  if (!options.recipe.empty()) {
    if (Status status = take_recipe(options); !status.ok()) return fail(status.error());
  } else if (p.parameters == 0) {
    return fail({"give --params, or a recipe"});
  }
  if (options.tflops > 0) p.flops_per_s = options.tflops * 1e12;
  if (options.memory_gb > 0) p.memory_bytes = options.memory_gb * 1e9;
  if (options.bandwidth_gb > 0) p.network_bytes_per_s = options.bandwidth_gb * 1e9;
  if (options.node_bandwidth_gb > 0) p.node_bytes_per_s = options.node_bandwidth_gb * 1e9;
  const auto plan = train::make_plan(p);
  if (!plan.ok()) return fail(plan.error());
  const Status written =
      write_output(options.json ? train::plan_json(*plan) : train::plan_text(*plan));
  return written.ok() ? kDone : fail(written.error());
}

std::function<int()> configure(CLI::App& app) {
  auto o = std::make_shared<Options>();
  o->plan.flops_per_s = 400e12;
  train::PlanOptions& p = o->plan;
  const CLI::Range positive(1e-9, 1e30);
  app.add_option("recipe", o->recipe, "plan this recipe of geist train base for this machine");
  app.add_option("--params", p.parameters, "parameters, as in 405e9")->check(positive);
  app.add_option("--tokens", p.tokens,
                 "tokens to train on (default: compute-optimal, 20 a parameter)")
      ->check(positive);
  app.add_option("--gpus", p.devices, "devices")->check(CLI::Range(1.0, 1e7));
  app.add_option("--tflops", o->tflops, "sustained by one device (default 400)")->check(positive);
  app.add_option("--memory", o->memory_gb, "GB of a device (default 80)")->check(positive);
  app.add_option("--bandwidth", o->bandwidth_gb, "GB/s of a device to other machines (default 50)")
      ->check(positive);
  app.add_option("--node-bandwidth", o->node_bandwidth_gb,
                 "GB/s of a device inside its machine (default 450)")
      ->check(positive);
  app.add_option("--gpus-per-node", p.devices_per_node, "devices of a machine (default 8)")
      ->check(CLI::Range(1, 4096));
  app.add_option("--context", p.context, "tokens of a row (default 8192)")
      ->check(CLI::Range(1.0, 1e9));
  app.add_option("--batch-tokens", p.batch_tokens,
                 "tokens of a step (default: by the model's size)")
      ->check(positive);
  app.add_option("--rows", p.rows, "rows in one pass of a device (default 1)")
      ->check(CLI::Range(1.0, 1e6));
  app.add_flag("--recompute", p.recompute,
               "keep only the inputs of layers: less memory, a third more work");
  app.add_option("--goodput", p.goodput, "share of the time in which the run gets on (default 1)")
      ->check(CLI::Range(0.01, 1.0));
  app.add_option("--watts", p.watts, "of a device (default 700)")->check(positive);
  app.add_option("--pue", p.pue, "watts of the centre for one of a device (default 1.1)")
      ->check(CLI::Range(1.0, 10.0));
  app.add_option("--layers", p.shape.layers, "default: by the number of parameters")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--width", p.shape.width, "of a layer; needs --layers")
      ->check(CLI::Range(1, 1 << 24));
  app.add_flag("--json", o->json, "as JSON");
  return [o] {
    train::PlanShape& shape = o->plan.shape;
    if ((shape.layers == 0) != (shape.width == 0))
      return fail({"--layers and --width go together"});
    if (shape.layers > 0) {
      shape.kv_width = shape.width;
      shape.feed_forward = shape.width * 7 / 2;
    }
    return run(*o);
  };
}

}  // namespace

Command train_plan_command() {
  return {"plan", "What a run would take: days, energy, memory, layout",
          "geist train plan --params 405e9 --tokens 15e12 --gpus 16000 --tflops 400\n"
          "geist train plan --params 7e9 --gpus 64 --json\n"
          "geist train plan recipe.toml",
          configure};
}

}  // namespace geist::cli
