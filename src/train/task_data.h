// Tasks of reinforcement learning: problems of the small world (world.h), or files of prompts with
// answers that can be checked.
//
//   {"prompt": "..." or [messages], "answer": "14"}       right when it is the answer, white space
//   apart
//   {"messages": [...], "tools"?, "check": {...}}         by the grader of world_grader.h
//   {"prompt": "..."}                                     for reward models
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/chat_format.h"
#include "train/epoch_order.h"
#include "train/recipe.h"
#include "train/tasks.h"
#include "train/world.h"

namespace geist::train {

struct TaskOptions {
  std::vector<std::string> skills;  // of the small world: "arithmetic", ...
  std::vector<std::string> files, validation_files;
  double validation_share = 0.1;     // of the tasks of `files`, chosen by their hash
  int64_t unix_time_s = 1767225600;  // what templates see as now: 2026-01-01
};

// The keys of [tasks].
Status read_task_options(const RecipeTable& table, TaskOptions* options);

class TaskData {
 public:
  // Refers to format and tokenizer. checked: every task must have an answer or a check.
  static Result<TaskData> load(const TaskOptions& options, const std::string& folder, uint64_t seed,
                               const engine::ChatFormat& format, const text::Tokenizer& tokenizer,
                               bool checked);

  // Task i of the run: a function of (options, seed, i). Not thread-safe.
  Result<Task> train(int64_t index);
  Result<Task> held_out(int64_t index) const;
  int64_t held_out_count() const;  // beyond it they come again; the small world has no end

 private:
  struct Record {
    std::string messages, tools, check, where;
  };
  TaskData(const engine::ChatFormat& format, const text::Tokenizer& tokenizer)
      : format_(&format), tokenizer_(&tokenizer), order_(0, 0, "") {}
  Status read(const std::string& path, double validation_share, bool checked);
  Result<Task> made(Split split, int64_t index) const;
  Result<Task> task_of(const Record& record) const;

  const engine::ChatFormat* format_;
  const text::Tokenizer* tokenizer_;
  uint64_t seed_ = 0;
  int64_t unix_time_s_ = 0;
  std::vector<Skill> skills_;
  std::vector<Record> train_, held_out_;
  EpochOrder order_;
};

}  // namespace geist::train
