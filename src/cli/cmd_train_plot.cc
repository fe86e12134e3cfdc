// geist train plot: the curves of one or several runs as an SVG file.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/train_plot.h"

namespace geist::cli {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string out;
};

// The last folder of a path: what tells runs apart.
std::string run_name(const std::string& path) {
  std::filesystem::path p = std::filesystem::path(path).lexically_normal();
  if (p.filename() == "log.jsonl" || p.filename().empty()) p = p.parent_path();
  return p.filename().string();
}

std::vector<std::string> logs_of(std::vector<std::string> runs) {
  for (std::string& run : runs)
    if (std::filesystem::is_directory(run))
      run = (std::filesystem::path(run) / "log.jsonl").string();
  return runs;
}

int run(const Options& options) {
  std::vector<PlottedRun> runs;
  for (const std::string& path : options.runs) {
    auto history = train::read_run_history(path);
    if (!history.ok()) return fail(history.error());
    if (history->skipped > 0)
      note("%s: %lld line(s) that are not whole are left out", path.c_str(),
           static_cast<long long>(history->skipped));
    runs.push_back({run_name(path), std::move(*history)});
  }
  const std::string out = !options.out.empty() ? options.out
                          : std::filesystem::is_directory(options.runs[0])
                              ? (std::filesystem::path(options.runs[0]) / "plot.svg").string()
                              : "plot.svg";
  const std::string svg = train_plot_svg(runs);
  Status written = refuse_overwriting(out, logs_of(options.runs));
  if (written.ok()) written = out == "-" ? write_output(svg) : write_file(out, svg);
  if (!written.ok()) return fail(written.error());
  if (out != "-") note("%s", out.c_str());
  return kDone;
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("runs", options->runs, "folders of runs, or their log.jsonl")->required();
  app.add_option(
      "-o,--out", options->out,
      "the picture; - for standard output (default: plot.svg in the first run's folder)");
  return [options] { return run(*options); };
}

}  // namespace

Command train_plot_command() {
  return {"plot", "Draw the curves of runs (SVG)",
          "geist train plot run\ngeist train plot run-a run-b -o compare.svg", configure};
}

}  // namespace geist::cli
