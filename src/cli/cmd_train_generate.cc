// geist train generate: the data of the small world (train/world.h) as files.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "train/world.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;
using train::Split;

struct Options {
  std::string folder;
  uint64_t seed = 1;
  uint64_t documents = 100'000, chats = 60'000, pairs = 12'000, problems = 12'000, held_out = 500;
};

// One file; each has a random stream of its own, so that its length does not change the others.
struct Output {
  std::string name;
  uint64_t lines;
  std::function<std::string(RandomStream&)> line;
};

train::Problem any_problem(Split split, RandomStream& random) {
  return train::make_problem(train::kSkills[random.next_below(std::size(train::kSkills))], split,
                             random);
}

// Quizzes teach looking up faster than single questions do; sums are rare, since reinforcement
// learning teaches them best: docs/log.md.
train::Problem any_chat(Split split, RandomStream& random) {
  using train::Skill;
  constexpr Skill kAsked[] = {
      Skill::kArithmetic,   Skill::kArithmetic,   Skill::kLookup,     Skill::kLookup,
      Skill::kUnanswerable, Skill::kUnanswerable, Skill::kTool,       Skill::kTool,
      Skill::kNoTool,       Skill::kNoTool,       Skill::kForm,       Skill::kForm,
      Skill::kForm,         Skill::kSystem,       Skill::kSystem,     Skill::kSystem,
      Skill::kFollowUp,     Skill::kFollowUp,     Skill::kToolResult, Skill::kToolResult};
  const uint64_t kind = random.next_below(12);
  if (kind < 3) return train::make_quiz(split, random);
  if (kind < 5) return train::make_tool_quiz(split, random);
  const Skill skill = kAsked[random.next_below(std::size(kAsked))];
  return train::with_context(train::make_problem(skill, split, random), split, random);
}

void add_split(const Options& o, Split split, std::vector<Output>* files) {
  const bool train = split == Split::kTrain;
  const std::string tail = train ? "" : ".held-out";
  const auto count = [&](uint64_t lines) { return train ? lines : o.held_out; };
  files->push_back({"base" + tail + ".txt", count(o.documents), [split](RandomStream& random) {
                      return train::make_document(split, random) + "<|endoftext|>";
                    }});
  files->push_back({"sft" + tail + ".jsonl", count(o.chats), [split](RandomStream& random) {
                      return train::chat_line(any_chat(split, random));
                    }});
  files->push_back({"pairs" + tail + ".jsonl", count(o.pairs), [split](RandomStream& random) {
                      return train::pair_line(any_problem(split, random));
                    }});
}

std::vector<Output> outputs(const Options& o) {
  std::vector<Output> files;
  add_split(o, Split::kTrain, &files);
  add_split(o, Split::kHeldOut, &files);
  // To be read before all else: docs/log.md says why.
  files.push_back({"recall.txt", o.documents / 4, [](RandomStream& random) {
                     return train::write_recall(random) + "<|endoftext|>";
                   }});
  files.push_back({"rl.jsonl", o.problems, [](RandomStream& random) {
                     return train::eval_line(
                         train::make_problem(train::Skill::kArithmetic, Split::kTrain, random));
                   }});
  for (const Split split : {Split::kHeldOut, Split::kNewWording})
    for (const train::Skill skill : train::kSkills)
      files.push_back({(split == Split::kHeldOut ? "eval/" : "eval-new-wording/") +
                           std::string(train::skill_name(skill)) + ".jsonl",
                       o.held_out, [skill, split](RandomStream& random) {
                         return train::eval_line(train::make_problem(skill, split, random));
                       }});
  return files;
}

Status write(const Options& o, const Output& output, uint64_t before, Progress& progress) {
  RandomStream random(o.seed, "generate " + output.name);
  GEIST_ASSIGN(AtomicFile file, AtomicFile::create((fs::path(o.folder) / output.name).string()));
  for (uint64_t i = 0; i < output.lines; ++i) {
    if (interrupted()) return errorf("interrupted");
    GEIST_TRY(file.write(output.line(random) + "\n"));
    progress.update(before + i + 1);
  }
  return file.commit();
}

Status generate(const Options& o) {
  const CatchInterrupt catching;
  std::error_code failed;
  fs::create_directories(fs::path(o.folder) / "eval", failed);
  if (!failed) fs::create_directories(fs::path(o.folder) / "eval-new-wording", failed);
  if (failed) return errorf("%s: cannot be made: %s", o.folder.c_str(), failed.message().c_str());
  const std::vector<Output> files = outputs(o);
  uint64_t total = 0, done = 0;
  for (const Output& output : files) total += output.lines;
  Progress progress("generating", total, Progress::Unit::kItems);
  for (const Output& output : files) {
    GEIST_TRY(write(o, output, done, progress));
    done += output.lines;
  }
  return {};
}

}  // namespace

Command train_generate_command() {
  return {"generate", "Make the data of a small mind: stories, sums, questions, tool calls",
          "geist train generate data --seed 1\n"
          "geist train generate data --documents 1000 --chats 1000 --pairs 100 --problems 100",
          [](CLI::App& app) -> std::function<int()> {
            auto o = std::make_shared<Options>();
            const auto lines = CLI::Range(uint64_t{0}, uint64_t{1} << 40);
            app.add_option("folder", o->folder, "where the files go")->required();
            app.add_option("--seed", o->seed, "the same seed gives the same files")
                ->capture_default_str();
            app.add_option("--documents", o->documents,
                           "base.txt: documents to read; recall.txt has a quarter as many")
                ->check(lines)
                ->capture_default_str();
            app.add_option("--chats", o->chats, "sft.jsonl: questions with good answers")
                ->check(lines)
                ->capture_default_str();
            app.add_option("--pairs", o->pairs, "pairs.jsonl: a better and a worse answer")
                ->check(lines)
                ->capture_default_str();
            app.add_option("--problems", o->problems, "rl.jsonl: sums whose answer can be checked")
                ->check(lines)
                ->capture_default_str();
            app.add_option("--held-out", o->held_out,
                           "lines of each held-out file and of each eval/SKILL.jsonl")
                ->check(lines)
                ->capture_default_str();
            return [o] {
              const Status status = generate(*o);
              return status.ok() ? kDone : fail(status.error());
            };
          }};
}

}  // namespace geist::cli
