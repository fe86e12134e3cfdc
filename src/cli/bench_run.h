// Timing of forward passes, for geist bench.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/model_options.h"

namespace geist::cli {

// `batch` sequences side by side, each with `depth` tokens in its cache: the time of `tokens` more
// of each, all at once (prefill) or one by one (decode).
struct BenchWork {
  bool prefill;
  int32_t tokens, depth, batch;
  std::string name() const { return prefill ? "prefill" : "decode"; }
};

struct Measurement {
  BenchWork work;
  int threads;
  std::vector<double> seconds;  // one a repeat

  double median_s() const;
  // Tokens a second, of all sequences together.
  double rate() const;
};

// The works in order, on a pool of so many threads. The tokens are random.
Result<std::vector<Measurement>> run_bench_works(const LoadedModel& loaded,
                                                 std::span<const BenchWork> works, int threads,
                                                 int repeats);

}  // namespace geist::cli
