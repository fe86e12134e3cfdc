// Running another program for its output: no shell, so arguments are never interpreted.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace geist::cli {

struct SubprocessOptions {
  std::string folder = {};  // where it runs; empty: here
  // Asked a few times a second; true: it is told to stop as Ctrl-C would, and waited for.
  std::function<bool()> interrupted = {};
};

// Runs arguments[0] (found in PATH) with standard input empty and hands its standard output to
// `sink` piece by piece. An error when it cannot be started, fails, or sink does.
Status run_for_output(const std::vector<std::string>& arguments,
                      const std::function<Status(std::span<const std::byte>)>& sink,
                      const SubprocessOptions& options = {});

}  // namespace geist::cli
