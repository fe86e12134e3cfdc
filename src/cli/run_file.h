// run/geist.c, embedded when the program is built, and what it can run.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace geist::cli {

std::string_view run_file_source();

// Whether the run file reads this model (one GGUF file): asks the run file itself, in a process of
// its own that computes nothing. The error is its own words, and what to do.
Status check_run_file_reads(const std::string& path);

}  // namespace geist::cli
