// log.jsonl: one JSON object a line for each step and each validation of a run.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "base/result.h"
#include "train/trainer.h"

namespace geist::train {

class RunLog {
 public:
  // Continues the log of a run of which `step` steps are done: lines of later steps are dropped.
  static Result<RunLog> open(const std::string& path, int64_t step);
  Status write(const TrainEvent& event);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  RunLog(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace geist::train
