// geist bench (the file is not called cmd_bench.cc, since _bench.cc is the ending of
// micro-benchmarks): tokens a second of reading a prompt (prefill) and of writing (decode), each
// the median of several runs, for each number of threads, depth and batch. GB/s of decode counts
// the weights that a step reads.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/bench_run.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"

namespace geist::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  int32_t prompt = 512, predict = 128, repeats = 3;
  std::vector<int> threads, depths, batches;
  bool json = false;
};

// Bytes of weights that one token of decode reads: all matrices but the embedding table, of which
// it reads a row, unless that table is the output head too; of experts only the share in use.
int64_t bytes_per_token(const model::Model& model) {
  const bool tied = model.file().find("output.weight") == nullptr;
  const model::ExpertConfig& expert = model.config().expert;
  int64_t bytes = 0;
  for (const gguf::Tensor& tensor : model.file().tensors()) {
    const auto size = static_cast<int64_t>(tensor.data.size());
    const bool table = tensor.name == "token_embd.weight" ||
                       tensor.name == "position_embd.weight" || tensor.name == "token_types.weight";
    if (table && !(tied && tensor.name == "token_embd.weight")) {
      bytes += size / tensor.rows();
    } else if (tensor.name.find("_exps.") != std::string::npos && expert.count > 0) {
      bytes += size / expert.count * expert.used;
    } else {
      bytes += size;
    }
  }
  return bytes;
}

double steps_per_s(const Measurement& m) { return m.rate() / m.work.batch; }

std::vector<BenchWork> works_of(const BenchOptions& options) {
  std::vector<BenchWork> works;
  for (const int depth : options.depths) {
    if (options.prompt > 0) works.push_back({true, options.prompt, depth, 1});
    for (const int batch : options.batches)
      if (options.predict > 0) works.push_back({false, options.predict, depth, batch});
  }
  return works;
}

// A context that a work does not fit into is known before anything is timed.
Status check_context(const BenchOptions& options, const model::Config& config,
                     std::span<const BenchWork> works) {
  const int32_t limit = config.position_limit > 0 ? config.position_limit : config.context_length;
  for (const BenchWork& work : works) {
    if (int64_t{work.depth} + work.tokens > limit)
      return errorf(
          "%s: %s of %d tokens at depth %d does not fit into the model's context of %d; smaller "
          "-p, -n or -d would",
          options.model.model.c_str(), work.name().c_str(), work.tokens, work.depth, limit);
  }
  return {};
}

Result<std::vector<Measurement>> measure(const BenchOptions& options, const LoadedModel& loaded) {
  const std::vector<BenchWork> works = works_of(options);
  GEIST_TRY(check_context(options, loaded.model->config(), works));
  std::vector<Measurement> out;
  for (const int threads : options.threads) {
    GEIST_ASSIGN(const std::vector<Measurement> some,
                 run_bench_works(loaded, works, threads, options.repeats));
    out.insert(out.end(), some.begin(), some.end());
  }
  return out;
}

std::string to_json(const BenchOptions& options, const LoadedModel& loaded,
                    std::span<const Measurement> results) {
  const int64_t bytes = bytes_per_token(*loaded.model);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measurement& m : results) {
    nlohmann::ordered_json row = {{"work", m.work.name()},   {"threads", m.threads},
                                  {"tokens", m.work.tokens}, {"depth", m.work.depth},
                                  {"batch", m.work.batch},   {"tokens_per_s", m.rate()},
                                  {"seconds", m.seconds}};
    if (!m.work.prefill) row["gb_per_s"] = steps_per_s(m) * static_cast<double>(bytes) / 1e9;
    rows.push_back(row);
  }
  const nlohmann::ordered_json json = {{"model", options.model.model},
                                       {"architecture", loaded.model->config().architecture},
                                       {"bytes_per_token", bytes},
                                       {"load_s", loaded.load_s},
                                       {"results", rows}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string to_text(const LoadedModel& loaded, std::span<const Measurement> results) {
  const double gigabytes = static_cast<double>(bytes_per_token(*loaded.model)) / 1e9;
  std::string out = "work       tokens    depth    batch  threads    tokens/s      GB/s\n";
  char line[100];
  for (const Measurement& m : results) {
    std::snprintf(line, sizeof line, "%-8s %8d %8d %8d %8d %11.2f", m.work.name().c_str(),
                  m.work.tokens, m.work.depth, m.work.batch, m.threads, m.rate());
    out += line;
    if (!m.work.prefill) {
      std::snprintf(line, sizeof line, " %9.2f", steps_per_s(m) * gigabytes);
      out += line;
    }
    out += '\n';
  }
  return out;
}

int run_bench(BenchOptions options) {
  if (options.threads.empty()) options.threads = {0};
  if (options.depths.empty()) options.depths = {0};
  if (options.batches.empty()) options.batches = {1};
  const CatchInterrupt catching;
  auto loaded = load_model(options.model);
  if (!loaded.ok()) return fail(loaded.error());
  if (!loaded->model->config().has_logits) {
    return fail(errorf("%s: an embedding model writes no tokens", options.model.model.c_str()));
  }
  const auto results = measure(options, *loaded);
  if (!results.ok()) return fail(results.error());
  const std::string text =
      options.json ? to_json(options, *loaded, *results) : to_text(*loaded, *results);
  if (Status status = write_output(text); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command bench_command() {
  return {
      "bench", "Measure speed",
      "geist bench model.gguf\ngeist bench model.gguf -p 512 -n 128 -t 1,2 --json\n"
      "geist bench model.gguf -p 512 -n 0 -d 0,4096,16384     prefill deep in a context\n"
      "geist bench model.gguf -p 0 -n 32 -b 1,4,16,64         sequences side by side",
      [](CLI::App& app) -> std::function<int()> {
        auto options = std::make_shared<BenchOptions>();
        app.add_option("model", options->model.model, "a GGUF file or a name in the model store")
            ->required();
        add_lora_option(app, options->model);
        app.add_option("-p,--prompt", options->prompt, "tokens to prefill; 0: none")
            ->capture_default_str()
            ->check(CLI::Range(0, 1 << 20));
        app.add_option("-n,--predict", options->predict, "tokens to decode; 0: none")
            ->capture_default_str()
            ->check(CLI::Range(0, 1 << 20));
        app.add_option("-d,--depth", options->depths,
                       "tokens in the cache before, with commas between")
            ->delimiter(',')
            ->default_str("0")
            ->check(CLI::Range(0, 1 << 24));
        app.add_option("-b,--batch", options->batches,
                       "sequences that decode side by side, with commas between")
            ->delimiter(',')
            ->default_str("1")
            ->check(CLI::Range(1, 4096));
        app.add_option("-r,--repeats", options->repeats, "runs of each, of which the median counts")
            ->capture_default_str()
            ->check(CLI::Range(1, 1000));
        app.add_option("-t,--threads", options->threads,
                       "numbers of threads, with commas between (default: all)")
            ->delimiter(',')
            ->check(CLI::Range(1, 1024));
        app.add_flag("!--no-pack", options->model.pack, "multiply from the mapped file");
        app.add_flag("--json", options->json, "one JSON object");
        return [options] { return run_bench(*options); };
      }};
}

}  // namespace geist::cli
