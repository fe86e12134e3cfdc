// geist train verify: makes a model again, stage by stage, and compares each result's hash with
// the recorded one.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/subprocess.h"
#include "train/pipeline.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder, work;
  int threads = 0;
  bool record = false;
};

class Verifier {
 public:
  explicit Verifier(const Options& options) : o_(options) {}

  Status run() {
    GEIST_ASSIGN(pipeline_, train::read_pipeline(o_.folder));
    GEIST_ASSIGN(recorded_, train::read_hashes(o_.folder));
    GEIST_TRY(train::prepare_work(o_.folder, o_.work));
    GEIST_ASSIGN(done_, train::read_done(o_.work));
    for (size_t i = 0; i < pipeline_.stages.size(); ++i) GEIST_TRY(verify(i));
    // Recorded even where a requirement is missed: what a recipe makes and whether that is good
    // enough are two questions.
    if (o_.record) GEIST_TRY(train::write_hashes(o_.folder, hashes_));
    return check_requirements();
  }

 private:
  std::string in_work(const std::string& name) const { return (fs::path(o_.work) / name).string(); }

  // Whether the result of an earlier run lies there unchanged.
  bool is_done(const train::PipelineStage& stage) const {
    const auto at = done_.find(stage.name);
    if (at == done_.end() || !fs::exists(in_work(stage.result))) return false;
    const auto hash = train::result_hash(in_work(stage.result));
    return hash.ok() && *hash == at->second;
  }

  Status verify(size_t i) {
    const train::PipelineStage& stage = pipeline_.stages[i];
    const auto begin = std::chrono::steady_clock::now();
    const bool was_done = is_done(stage);
    if (!was_done) {
      note("stage %zu of %zu: %s", i + 1, pipeline_.stages.size(), stage.name.c_str());
      // What comes after was made of what is now made anew.
      for (size_t k = i; k < pipeline_.stages.size(); ++k) done_.erase(pipeline_.stages[k].name);
      GEIST_TRY(train::write_done(o_.work, done_));
      GEIST_TRY(run_stage(stage));
    }
    GEIST_ASSIGN(const std::string hash, train::result_hash(in_work(stage.result)));
    hashes_[stage.name] = done_[stage.name] = hash;
    GEIST_TRY(train::write_done(o_.work, done_));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return compare(stage.name, hash, was_done ? "was done" : human_seconds(seconds));
  }

  Status compare(const std::string& name, const std::string& hash, const std::string& took) {
    const auto recorded = recorded_.find(name);
    const bool known = recorded != recorded_.end(), same = known && recorded->second == hash;
    const char* verdict = same ? "as recorded" : known ? "DIFFERENT" : "not recorded";
    char line[300];
    std::snprintf(line, sizeof line, "%-16.40s %.64s  %-12s  %s\n", name.c_str(), hash.c_str(),
                  verdict, took.c_str());
    GEIST_TRY(show_output(line));
    if (same || o_.record) return {};
    if (!known)
      return errorf("stage %s: no hash is recorded in %s/hashes.json; --record writes them",
                    name.c_str(), o_.folder.c_str());
    return errorf("stage %s: the hash is %.16s... where %.16s... is recorded; its result is %s",
                  name.c_str(), hash.c_str(), recorded->second.c_str(),
                  in_work(pipeline_stage(name).result).c_str());
  }

  const train::PipelineStage& pipeline_stage(const std::string& name) const {
    return *std::find_if(pipeline_.stages.begin(), pipeline_.stages.end(),
                         [&](const train::PipelineStage& stage) { return stage.name == name; });
  }

  Status run_stage(const train::PipelineStage& stage) {
    std::error_code failed;
    std::vector<std::string> words = {fs::read_symlink("/proc/self/exe", failed).string()};
    for (const std::string& word : stage.run)
      words.push_back(word == "{threads}" ? std::to_string(o_.threads) : word);
    std::string output;
    Status status =
        run_for_output(words,
                       [&](std::span<const std::byte> bytes) -> Status {
                         output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                         return {};
                       },
                       {.folder = o_.work, .interrupted = [] { return interrupted(); }});
    if (!status.ok())
      return errorf("stage %s failed: geist %s %s", stage.name.c_str(), stage.run[0].c_str(),
                    stage.run.size() > 1 ? stage.run[1].c_str() : "");
    return stage.output.empty() ? Status() : write_file(in_work(stage.output), output);
  }

  Status check_requirements() {
    int missed = 0;
    for (const train::Requirement& requirement : pipeline_.requirements) {
      GEIST_ASSIGN(const train::Measured measured, train::measure(requirement, o_.work));
      GEIST_TRY(show_output((measured.met ? "met     " : "MISSED  ") + measured.text + "\n"));
      missed += !measured.met;
    }
    if (missed > 0)
      return errorf("%d of %zu requirements are missed", missed, pipeline_.requirements.size());
    return {};
  }

  const Options& o_;
  train::Pipeline pipeline_;
  train::StageHashes recorded_, done_, hashes_;
};

int run(Options& options) {
  const CatchInterrupt catching;
  if (options.work.empty()) {
    fs::path folder = fs::path(options.folder).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    options.work = "verify-" + folder.filename().string();
  }
  if (options.threads == 0) options.threads = ThreadPool().size();
  const Status status = Verifier(options).run();
  return status.ok() ? kDone : fail(status.error());
}

}  // namespace

Command train_verify_command() {
  return {
      "verify", "Make a model again from its recipes and compare every stage's hash",
      "geist train verify recipes/tiny\n"
      "geist train verify recipes/mini --work runs/mini -t 2",
      [](CLI::App& app) -> std::function<int()> {
        auto o = std::make_shared<Options>();
        app.add_option("folder", o->folder, "pipeline.toml, recipes and hashes.json")->required();
        app.add_option("--work", o->work,
                       "where it is made; goes on with what is done there (default: "
                       "verify-NAME, here)");
        app.add_flag("--record", o->record, "write the hashes instead of comparing them");
        app.add_option("-t,--threads", o->threads,
                       "threads; no hash depends on it (default: one a processor)")
            ->check(CLI::Range(0, 1024));
        return [o] { return run(*o); };
      }};
}

}  // namespace geist::cli
