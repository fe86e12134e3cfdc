// geist feedback: the thumbs of geist chat as preferences to learn from.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/feedback.h"
#include "cli/output.h"

namespace geist::cli {
namespace {

struct FeedbackOptions {
  std::string action, out = "-";
  bool json = false;
};

void report(const FeedbackExport& made) {
  note("%lld pairs, %lld good and %lld bad replies without a counterpart",
       static_cast<long long>(made.pairs), static_cast<long long>(made.good_alone),
       static_cast<long long>(made.bad_alone));
}

Status run_export(const FeedbackOptions& options) {
  const std::string path = feedback_file();
  GEIST_ASSIGN(const FeedbackExport made, export_feedback(path));
  if (made.not_whole > 0)
    note("%s: %lld lines are not whole and are left out", path.c_str(),
         static_cast<long long>(made.not_whole));
  if (options.out == "-") {
    GEIST_TRY(write_output(made.lines));
  } else {
    GEIST_TRY(refuse_overwriting(options.out, {{path}}));
    GEIST_TRY(write_file(options.out, made.lines));
  }
  if (!options.json) {
    report(made);
    return {};
  }
  const nlohmann::ordered_json summary = {{"out", options.out},
                                          {"pairs", made.pairs},
                                          {"good_alone", made.good_alone},
                                          {"bad_alone", made.bad_alone},
                                          {"not_whole", made.not_whole}};
  return write_output(summary.dump() + "\n");
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<FeedbackOptions>();
  app.add_option("action", options->action, "export")->required()->check(CLI::IsMember({"export"}));
  app.add_option("-o,--out", options->out, "JSON Lines (default: standard output)");
  app.add_flag("--json", options->json, "what was written, as an object; with --out");
  return [options] {
    if (options->json && options->out == "-")
      return usage("--json says what --out FILE got; without it the pairs themselves are printed");
    const Status status = run_export(*options);
    return status.ok() ? kDone : fail(status.error());
  };
}

}  // namespace

Command feedback_command() {
  return {"feedback", "Preferences from the thumbs of geist chat (/good, /bad)",
          "geist feedback export > pairs.jsonl\n"
          "geist feedback export --out pairs.jsonl --json\n"
          "geist train reward recipe.toml            # [data] files = [\"pairs.jsonl\"]\n"
          "geist train rl kto.toml                   # algorithm = \"kto\": single thumbs too",
          configure};
}

}  // namespace geist::cli
