// run/geist.c, embedded when the program is built, and what it can run.
#pragma once

#include <string_view>

#include "base/result.h"
#include "gguf/gguf.h"

namespace geist::cli {

std::string_view run_file_source();

// Whether the run file can run this model: an error says what it does not read, and what to do.
Status check_run_file_reads(const gguf::File& file);

}  // namespace geist::cli
