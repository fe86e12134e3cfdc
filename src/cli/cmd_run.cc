// geist run: continues a text. The completion alone goes to standard output, as it is made.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/prompt_cache.h"
#include "cli/sampler_options.h"
#include "cli/speculation_options.h"
#include "engine/generation.h"
#include "engine/prompt.h"

namespace geist::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using engine::StopReason;

struct RunOptions {
  ModelOptions model;
  SamplerFlags sampler;
  SpeculationFlags speculation;
  PromptCacheOptions cache;
  std::optional<std::string> prompt;
  std::string file;
  int32_t tokens_max = -1;
  std::vector<std::string> stops;
  bool raw = false, json = false, verbose = false, special = false, ignore_end = false;
};

struct Outcome {
  std::vector<text::TokenId> prompt, tokens;
  std::vector<double> log_probabilities;
  std::string text;
  StopReason stop = StopReason::kNone;
  size_t cached_tokens = 0;  // of the prompt
  double load_s = 0, prefill_s = 0, decode_s = 0;
  engine::SpeculationStats speculation;
  size_t computed_tokens() const { return prompt.size() - cached_tokens; }
};

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double per_second(size_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

Result<std::string> prompt_text(const RunOptions& options) {
  if (options.prompt.has_value()) return *options.prompt;
  return read_file(options.file.empty() ? "-" : options.file);
}

Json to_json(const Outcome& outcome, const engine::SamplerOptions& sampler) {
  // The first token comes from the logits of the prompt's last: decoding makes the others.
  const size_t decoded = outcome.tokens.empty() ? 0 : outcome.tokens.size() - 1;
  return {{"text", outcome.text},
          {"tokens", outcome.tokens},
          {"log_probabilities", outcome.log_probabilities},
          {"prompt_tokens", outcome.prompt},
          {"stop_reason", std::string(engine::stop_reason_name(outcome.stop))},
          {"seed", sampler.seed},
          {"speculation",
           {{"rounds", outcome.speculation.rounds},
            {"drafted", outcome.speculation.drafted},
            {"accepted", outcome.speculation.accepted}}},
          {"timings",
           {{"load_s", outcome.load_s},
            {"prefill_s", outcome.prefill_s},
            {"cached_tokens", outcome.cached_tokens},
            {"prefill_tokens", outcome.computed_tokens()},
            {"prefill_tokens_per_s", per_second(outcome.computed_tokens(), outcome.prefill_s)},
            {"decode_s", outcome.decode_s},
            {"decode_tokens", decoded},
            {"decode_tokens_per_s", per_second(decoded, outcome.decode_s)}}}};
}

// Steps until the end; shows text as it comes unless it goes into JSON.
Status generate(const RunOptions& options, engine::Generation& generation, Outcome& outcome) {
  const auto begin = Clock::now();
  auto first_token = begin;
  while (outcome.stop == StopReason::kNone) {
    if (interrupted()) {
      outcome.stop = StopReason::kCancelled;
      break;
    }
    auto step = generation.step();
    if (!step.ok()) return step.error();
    outcome.stop = step->stop;
    if (step->token >= 0) {
      if (outcome.tokens.empty()) first_token = Clock::now();
      outcome.tokens.push_back(step->token);
      outcome.log_probabilities.push_back(step->log_probability);
    }
    outcome.text += step->text;
    if (options.json || step->text.empty()) continue;
    if (Status status = show_output(step->text); !status) return status;
  }
  if (outcome.tokens.empty()) first_token = Clock::now();
  outcome.prefill_s = std::chrono::duration<double>(first_token - begin).count();
  outcome.decode_s = seconds_since(first_token);
  return {};
}

void report(const Outcome& outcome, const engine::SamplerOptions& sampler) {
  const size_t decoded = outcome.tokens.empty() ? 0 : outcome.tokens.size() - 1;
  note(
      "seed %llu; loaded in %.2f s; prompt of %zu tokens (%zu cached) in %.2f s (%.1f tokens/s); "
      "%zu tokens in "
      "%.2f s "
      "(%.1f tokens/s); drafted %lld, accepted %lld; ended by %s",
      static_cast<unsigned long long>(sampler.seed), outcome.load_s, outcome.prompt.size(),
      outcome.cached_tokens, outcome.prefill_s,
      per_second(outcome.computed_tokens(), outcome.prefill_s), outcome.tokens.size(),
      outcome.decode_s, per_second(decoded, outcome.decode_s),
      static_cast<long long>(outcome.speculation.drafted),
      static_cast<long long>(outcome.speculation.accepted),
      std::string(engine::stop_reason_name(outcome.stop)).c_str());
}

// The whole run; what it made is in outcome even when it was interrupted.
Status run(const RunOptions& options, Outcome& outcome) {
  const auto text = prompt_text(options);
  if (!text.ok()) return text.error();
  GEIST_ASSIGN(OpenedModel opened, open_speaking_model(options.model));
  GEIST_ASSIGN(const engine::SamplerOptions sampler_options,
               finish_sampler_options(options.sampler, opened.tokenizer));
  outcome.prompt = engine::encode_prompt(opened.tokenizer, *text,
                                         {.bos = !options.raw, .parse_special = !options.raw});
  if (outcome.prompt.empty())
    return errorf("the prompt is empty and %s; give one with -p or -f",
                  options.raw ? "--raw puts no BOS token in front" : "this model has no BOS token");
  // What the words have wrong is said by now: loading takes long.
  GEIST_ASSIGN(const SpeakingModel loaded, load_speaking_model(std::move(opened), options.model));
  const CatchInterrupt catching;  // until here Ctrl-C ends the program at once
  outcome.load_s = loaded.load_s;

  PromptCache cache(loaded, options.cache, outcome.prompt.size() >= kPromptWorthCaching,
                    options.verbose);
  engine::Session session(*loaded.model, {.context_max = options.model.context_max,
                                          .adapters = loaded.adapters,
                                          .memory = &cache.memory()});
  engine::Runner runner(*loaded.model, *loaded.pool);
  engine::Sampler sampler(sampler_options);
  if (Status status = session.append(outcome.prompt); !status) return status;
  for (const text::TokenId id : outcome.prompt) sampler.accept(id);
  GEIST_ASSIGN(const auto speculator, make_speculator(options.speculation, loaded));
  engine::Generation generation(session, runner, sampler, *loaded.tokenizer,
                                {.tokens_max = options.tokens_max,
                                 .stops = options.stops,
                                 .ignore_end = options.ignore_end,
                                 .show_special = options.special,
                                 .log_probabilities = options.json,
                                 .speculator = speculator.get()});
  if (Status status = generate(options, generation, outcome); !status) return status;
  if (speculator != nullptr) outcome.speculation = speculator->stats();
  outcome.cached_tokens =
      std::min(outcome.prompt.size(), static_cast<size_t>(cache.tokens_found()));
  cache.keep(session);
  if (options.verbose) report(outcome, sampler_options);
  if (!options.json) return {};
  return write_output(
      to_json(outcome, sampler_options).dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

int run_run(const RunOptions& options) {
  if (options.prompt.has_value() && !options.file.empty()) return usage("give -p or -f, not both");
  if (!options.prompt.has_value() && options.file.empty() && ::isatty(STDIN_FILENO) == 1) {
    return usage("give the prompt with -p or -f, or on standard input (see 'geist run --help')");
  }
  if (Status status = check_sampler_flags(options.sampler); !status)
    return usage("%s", status.error().message.c_str());
  Outcome outcome;
  const Status status = run(options, outcome);
  if (!options.json && !outcome.text.empty() && ::isatty(STDOUT_FILENO) == 1)
    std::fputc('\n', stdout);
  if (!status) return fail(status.error());
  return outcome.stop == StopReason::kCancelled ? kInterrupted : kDone;
}

void configure_options(CLI::App& app, RunOptions& options) {
  add_model_options(app, options.model);
  add_context_option(app, options.model);
  add_lora_option(app, options.model);
  add_kv_option(app, options.model);
  app.add_option("-p,--prompt", options.prompt, "the text to continue");
  app.add_option("-f,--file", options.file,
                 "a file with the text to continue; - is standard input");
  app.add_option("-n,--predict", options.tokens_max,
                 "tokens at most (default: until the model ends, or the context)")
      ->check(CLI::Range(-1, 1 << 30));
  app.add_option("-r,--stop", options.stops, "text that ends the completion; may be repeated")
      ->allow_extra_args(false);
  app.add_flag(
      "--raw", options.raw,
      "take the prompt as it is: no BOS token in front, names of control tokens are plain text");
  app.add_flag("--special", options.special, "show control tokens");
  app.add_flag("--ignore-eos", options.ignore_end, "go on after end-of-text tokens");
  app.add_flag("--json", options.json, "one JSON object: text, tokens, seed, stop reason, timings");
  app.add_flag("-v,--verbose", options.verbose, "seed and timings on standard error");
  add_prompt_cache_options(app, options.cache);
  add_sampler_options(app, options.sampler);
  add_speculation_options(app, options.speculation);
}

}  // namespace

Command run_command() {
  return {"run", "Continue a text",
          "geist run tinyllama -p 'Once upon a time' -n 100\n"
          "geist run model.gguf -f prompt.txt --temp 0 --json\n"
          "geist run model.gguf -p 'The capital of France is' --seed 42 -t 2",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<RunOptions>();
            configure_options(app, *options);
            return [options] { return run_run(*options); };
          }};
}

}  // namespace geist::cli
