// Quantising a model file: every tensor to the type that the convention of a file type gives it
// (quantize_mix.h), metadata kept.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/quantize_mix.h"

namespace geist::model {

struct QuantizeProgress {
  int64_t weights_done = 0, weights_total = 0;
  std::string_view tensor;  // the one at work; valid during the call
};

struct QuantizeReport {
  int64_t weights = 0;
  uint64_t bytes_in = 0, bytes_out = 0;      // of tensors
  std::map<kernels::TensorType, int> types;  // tensors of each type in the new file
  int fallback_count = 0;        // tensors whose rows do not fit the type meant for them
  int64_t not_finite_count = 0;  // weights (infinite, NaN) that became 0
};

// Writes `in`, quantised, to out_path, which must not be (part of) the file that `in` was read
// from. Tensors that already have their type are copied. Holds one converted tensor in memory at a
// time; the pages of `in` are given back as it goes. The bytes written depend on neither the pool's
// size nor the machine. `progress` is called from this thread, several times a second; it may be
// empty.
Result<QuantizeReport> quantize_file(const gguf::File& in, const std::string& out_path,
                                     FileType type, ThreadPool& pool,
                                     const std::function<void(const QuantizeProgress&)>& progress);

}  // namespace geist::model
