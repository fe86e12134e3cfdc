// What geist pull is asked for, as addresses to fetch and files to write.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/known_models.h"

namespace geist::cli {

struct PullOptions {
  std::string source, sha256, output;
};

// One file.
struct PullPlan {
  const KnownModel* known = nullptr;
  std::string url, token, path;
  std::string origin;  // what is noted beside the finished file
};

Result<PullPlan> make_pull_plan(const PullOptions& options);

// The files of one model, in order: a split has several. plan.path becomes the first.
Result<std::vector<PullPlan>> files_of(PullPlan& plan);

// A path beside plan.path for another model whose file has the same name.
std::string other_name(const PullPlan& plan);

std::string environment(const char* name, std::string_view otherwise = "");
std::string without_trailing_slash(std::string url);

}  // namespace geist::cli
