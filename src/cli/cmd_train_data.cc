// geist train data: files of text become shards of tokens.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "train/data_stage.h"

namespace geist::cli {
namespace {

struct Options {
  std::string recipe;
  train::DataOptions data;
  bool web = false, json = false;
  int threads = 0;
};

std::string line(const char* what, const train::DataCount& count, const std::string& more = {}) {
  char text[300];
  std::snprintf(text, sizeof text, "%-18s %10lld documents  %9s%s\n", what,
                static_cast<long long>(count.documents),
                human_bytes(static_cast<double>(count.bytes)).c_str(), more.c_str());
  return text;
}

std::string table(const train::DataReport& report) {
  const auto tokens = [](const train::DataCount& count) {
    return "  " + human_count(static_cast<double>(count.tokens)) + " tokens";
  };
  std::string text = line("read", report.read);
  text += line("train", report.train, tokens(report.train));
  text += line("validation", report.validation, tokens(report.validation));
  for (const auto& [reason, count] : report.dropped)
    text += line(reason.c_str(), count, "  dropped; the first: " + report.first_dropped.at(reason));
  return text;
}

Result<uint64_t> total_bytes(const std::vector<std::string>& files) {
  uint64_t total = 0;
  for (const std::string& file : files) {
    std::error_code failed;
    total += std::filesystem::file_size(file, failed);
    if (failed) return errorf("%s: cannot be read: %s", file.c_str(), failed.message().c_str());
  }
  return total;
}

Status run(Options& options) {
  const CatchInterrupt catching;
  if (!options.recipe.empty()) {
    GEIST_ASSIGN(const train::Recipe recipe, train::Recipe::open(options.recipe));
    GEIST_ASSIGN(options.data, train::read_data_recipe(recipe, options.recipe));
  } else if (options.web) {
    options.data.quality = train::web_quality();
  }
  GEIST_ASSIGN(const uint64_t bytes, total_bytes(options.data.files));
  ThreadPool pool(options.threads);
  Progress progress("sharding", bytes);
  GEIST_ASSIGN(const train::DataReport report,
               train::run_data_stage(options.data, pool, [&](uint64_t done) {
                 progress.update(done);
                 return !interrupted();
               }));
  progress.finish();
  return write_output(options.json ? train::manifest_text(report) : table(report));
}

}  // namespace

Command train_data_command() {
  return {
      "data", "Turn text into shards of tokens, without duplicates and what is no text",
      "geist train data --data a.txt b.jsonl --tokenizer tok.gguf --out shards\n"
      "geist train data recipe.toml --json",
      [](CLI::App& app) -> std::function<int()> {
        auto o = std::make_shared<Options>();
        train::DataOptions& d = o->data;
        auto* recipe = app.add_option("recipe", o->recipe, "recipe.toml, instead of flags");
        std::vector<CLI::Option*> flags = {
            app.add_option("--data", d.files, "text files, or JSON Lines (*.jsonl)"),
            app.add_option("--tokenizer", d.tokenizer, "a GGUF file with the vocabulary"),
            app.add_option("-o,--out", d.out, "the folder for the shards"),
            app.add_option("--validation-share", d.validation_share,
                           "documents kept apart, chosen by their hash")
                ->capture_default_str(),
            app.add_option("--shard-tokens", d.shard_tokens, "of a shard, about")
                ->capture_default_str(),
            app.add_option("--split-bytes", d.split_bytes,
                           "cut longer documents behind a line's end"),
            app.add_option("--near", d.near_duplicates,
                           "drop documents as similar as this to one before; 0: none")
                ->capture_default_str(),
            app.add_flag("--web", o->web, "filters for text from the web"),
            app.add_option("--field", d.documents.field, "of JSON Lines")->capture_default_str(),
            app.add_option("--separator", d.documents.separator, "a line between documents")
                ->capture_default_str()};
        for (CLI::Option* flag : flags) recipe->excludes(flag);
        app.add_flag("--json", o->json, "the report as JSON");
        app.add_option("-t,--threads", o->threads,
                       "threads; the files do not depend on it (default: one a processor)")
            ->check(CLI::Range(0, 1024));
        return [o] {
          if (o->recipe.empty() &&
              (o->data.files.empty() || o->data.tokenizer.empty() || o->data.out.empty()))
            return usage(
                "give a recipe, or --data, --tokenizer and --out (see geist train data --help)");
          const Status status = run(*o);
          return status.ok() ? kDone : fail(status.error());
        };
      }};
}

}  // namespace geist::cli
