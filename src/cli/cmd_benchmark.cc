// geist bench (the file is not called cmd_bench.cc, since _bench.cc is the ending of
// micro-benchmarks): tokens a second of reading a prompt (prefill) and of writing (decode, from an
// empty context), each the median of several runs, for each number of threads. GB/s of decode
// counts the weights that a token reads.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/rng.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"

namespace geist::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  ModelOptions model;
  int32_t prompt = 512, predict = 128, repeats = 3;
  std::vector<int> threads;
  bool json = false;
};

struct Measurement {
  std::string work;  // "prefill" or "decode"
  int threads;
  int32_t tokens;
  std::vector<double> seconds;  // one a repeat

  double median_s() const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    const size_t middle = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  double rate() const { return tokens / median_s(); }
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

class Bench {
 public:
  Bench(const LoadedModel& loaded, ThreadPool& pool)
      : model_(*loaded.model),
        adapters_(loaded.adapters),
        runner_(model_, pool),
        random_(1, "bench") {}

  Result<double> prefill(int32_t count) {
    engine::Session session(model_, {.context_max = count, .adapters = adapters_});
    std::vector<text::TokenId> tokens(static_cast<size_t>(count));
    for (text::TokenId& id : tokens) id = random_token();
    if (Status status = session.append(tokens); !status) return status.error();
    const auto begin = Clock::now();
    while (session.pending() > 0 && !interrupted()) runner_.pass(session);
    return seconds_since(begin);
  }

  Result<double> decode(int32_t count) {
    engine::Session session(model_, {.context_max = count, .adapters = adapters_});
    const auto begin = Clock::now();
    for (int32_t i = 0; i < count && !interrupted(); ++i) {
      if (Status status = session.append(random_token()); !status) return status.error();
      runner_.pass(session);
    }
    return seconds_since(begin);
  }

 private:
  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  text::TokenId random_token() {
    return static_cast<text::TokenId>(
        random_.next_below(static_cast<uint64_t>(model_.config().vocab_size)));
  }

  const model::Model& model_;
  std::shared_ptr<const model::AdapterSet> adapters_;
  engine::Runner runner_;
  RandomStream random_;
};

Result<std::vector<Measurement>> measure(const BenchOptions& options, const LoadedModel& loaded) {
  std::vector<Measurement> out;
  for (const int threads : options.threads) {
    ThreadPool pool(threads);
    Bench bench(loaded, pool);
    // Once unmeasured: touches the weights, grows the scratch memory.
    if (const auto warm = bench.decode(1); !warm.ok()) return warm.error();
    for (const bool prefill : {true, false}) {
      const int32_t tokens = prefill ? options.prompt : options.predict;
      if (tokens == 0) continue;
      Measurement m{prefill ? "prefill" : "decode", pool.size(), tokens, {}};
      for (int32_t i = 0; i < options.repeats; ++i) {
        const auto seconds = prefill ? bench.prefill(tokens) : bench.decode(tokens);
        if (!seconds.ok()) return seconds.error();
        if (interrupted()) return errorf("interrupted");
        m.seconds.push_back(*seconds);
      }
      out.push_back(std::move(m));
    }
  }
  return out;
}

std::string to_json(const BenchOptions& options, const LoadedModel& loaded,
                    std::span<const Measurement> results) {
  const int64_t bytes = bytes_per_token(*loaded.model);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measurement& m : results) {
    nlohmann::ordered_json row = {{"work", m.work},
                                  {"threads", m.threads},
                                  {"tokens", m.tokens},
                                  {"tokens_per_s", m.rate()},
                                  {"seconds", m.seconds}};
    if (m.work == "decode") row["gb_per_s"] = m.rate() * static_cast<double>(bytes) / 1e9;
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
  std::string out = "work       tokens  threads    tokens/s      GB/s\n";
  char line[100];
  for (const Measurement& m : results) {
    std::snprintf(line, sizeof line, "%-8s %8d %8d %11.2f", m.work.c_str(), m.tokens, m.threads,
                  m.rate());
    out += line;
    if (m.work == "decode") {
      std::snprintf(line, sizeof line, " %9.2f", m.rate() * gigabytes);
      out += line;
    }
    out += '\n';
  }
  return out;
}

int run_bench(BenchOptions options) {
  if (options.threads.empty()) options.threads = {0};
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
      "geist bench model.gguf\ngeist bench model.gguf -p 512 -n 128 -t 1,2 --json",
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
