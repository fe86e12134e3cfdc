// log.jsonl read back: every number of a run against its steps.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace geist::train {

struct HistoryPoint {
  double step, value;
};

struct RunHistory {
  std::map<std::string, std::vector<HistoryPoint>> series;  // by key, steps ascending
  int64_t lines = 0, skipped = 0;  // lines that are not whole are skipped: a run may be writing
};

// `path` is a log or the folder of a run.
Result<RunHistory> read_run_history(const std::string& path);

}  // namespace geist::train
