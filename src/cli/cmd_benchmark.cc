// geist bench (the file is not called cmd_bench.cc, since _bench.cc is the ending of
// micro-benchmarks): tokens a second of reading a prompt (prefill) and of writing (decode), each
// the median of several runs, for each number of threads, depth and batch. GB/s of decode counts
// the weights that a step reads.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/bench_run.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/roofline.h"
#include "model/pass_cost.h"

namespace geist::cli {
namespace {

struct BenchOptions {
  ModelOptions model;  // the one at hand
  std::vector<std::string> models;
  int32_t prompt = 512, predict = 128, repeats = 3;
  std::vector<int> threads, depths, batches;
  bool json = false, roofline = false;
  std::string svg;
};

// Of weights that one token of decode reads.
double bytes_per_token(const model::Model& model) {
  return model::pass_cost(model, {}, model::KvType::kF32).weight_bytes;
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

nlohmann::ordered_json to_json(const BenchOptions& options, const LoadedModel& loaded,
                               std::span<const Measurement> results,
                               std::span<const RooflineRow> roofline) {
  const double bytes = bytes_per_token(*loaded.model);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measurement& m : results) {
    nlohmann::ordered_json row = {{"work", m.work.name()},   {"threads", m.threads},
                                  {"tokens", m.work.tokens}, {"depth", m.work.depth},
                                  {"batch", m.work.batch},   {"tokens_per_s", m.rate()},
                                  {"seconds", m.seconds}};
    if (!m.work.prefill) row["gb_per_s"] = steps_per_s(m) * bytes / 1e9;
    rows.push_back(row);
  }
  nlohmann::ordered_json json = {{"model", options.model.model},
                                 {"architecture", loaded.model->config().architecture},
                                 {"bytes_per_token", static_cast<int64_t>(bytes)},
                                 {"kv_type", kernels::kv_type_name(loaded.kv_type)},
                                 {"load_s", loaded.load_s},
                                 {"results", rows}};
  if (!roofline.empty()) json["roofline"] = roofline_json(roofline);
  return json;
}

std::string to_text(const LoadedModel& loaded, std::span<const Measurement> results) {
  const double gigabytes = bytes_per_token(*loaded.model) / 1e9;
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

// What is printed and drawn of all files.
struct Report {
  std::string text;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::vector<RooflineRow> roofline;
};

// One file: measured, and let go before the next.
Status bench_model(const BenchOptions& options, Report& report) {
  GEIST_ASSIGN(const LoadedModel loaded, load_model(options.model));
  GEIST_TRY(refuse_overwriting(options.svg, loaded.files()));
  if (!loaded.model->config().has_logits)
    return errorf("%s: an embedding model writes no tokens", options.model.model.c_str());
  GEIST_ASSIGN(const std::vector<Measurement> results, measure(options, loaded));
  std::vector<RooflineRow> roofline;
  if (options.roofline || !options.svg.empty()) roofline = make_roofline(loaded, results);
  if (options.models.size() > 1) report.text += options.model.model + "\n";
  report.text += to_text(loaded, results);
  if (options.roofline) report.text += "\n" + roofline_text(roofline);
  report.json.push_back(to_json(options, loaded, results, roofline));
  report.roofline.insert(report.roofline.end(), roofline.begin(), roofline.end());
  return {};
}

int run_bench(BenchOptions options) {
  if (options.threads.empty()) options.threads = {0};
  if (options.depths.empty()) options.depths = {0};
  if (options.batches.empty()) options.batches = {1};
  Report report;
  std::string title;
  for (const std::string& name : options.models) {
    options.model.model = name;
    if (Status status = bench_model(options, report); !status) return fail(status.error());
    title += (title.empty() ? "" : ", ") + std::filesystem::path(name).filename().string();
  }
  if (!options.svg.empty()) {
    const std::string svg = roofline_svg(title, report.roofline);
    if (Status status = write_file(options.svg, svg); !status) return fail(status.error());
  }
  const nlohmann::ordered_json& json = options.models.size() == 1 ? report.json[0] : report.json;
  const auto as_it_is = nlohmann::ordered_json::error_handler_t::replace;
  const std::string text =
      options.json ? json.dump(2, ' ', false, as_it_is) + "\n" : std::move(report.text);
  if (Status status = write_output(text); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command bench_command() {
  return {
      "bench", "Measure speed",
      "geist bench model.gguf\ngeist bench model.gguf -p 512 -n 128 -t 1,2 --json\n"
      "geist bench model.gguf -p 512 -n 0 -d 0,4096,16384     prefill deep in a context\n"
      "geist bench model.gguf -p 0 -n 32 -b 1,4,16,64         sequences side by side\n"
      "geist bench model.gguf --roofline                      how near the machine's limits it is\n"
      "geist bench q8.gguf q4.gguf --svg roofline.svg         a picture of that, of several files",
      [](CLI::App& app) -> std::function<int()> {
        auto options = std::make_shared<BenchOptions>();
        app.add_option("model", options->models,
                       "GGUF files or names in the model store, one after another")
            ->required();
        add_lora_option(app, options->model);
        add_kv_option(app, options->model);
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
            ->check(CLI::Range(1, kThreadsMax));
        app.add_flag("!--no-pack", options->model.pack, "multiply from the mapped file");
        app.add_flag("--roofline", options->roofline,
                     "what each work needs beside what the machine can do, measured now");
        app.add_option("--svg", options->svg, "write the picture of the roofline to this file");
        app.add_flag("--json", options->json, "a JSON object; of several models a list of them");
        return [options] { return run_bench(*options); };
      }};
}

}  // namespace geist::cli
