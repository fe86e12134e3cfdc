// What this machine can do at most: what measured speeds are put beside.
#pragma once

#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace geist::kernels {

// Of all threads of the pool together. 0 where this processor or build has no such unit.
struct MachineLimits {
  double read_bytes_per_s = 0;  // memory far beyond the caches, nothing but loads
  double float_ops_per_s = 0;   // f32 fused multiply-adds in registers, counted as two
  double int8_ops_per_s =
      0;  // 8-bit multiply-adds in registers (vpdpbusd; vpmaddubsw), counted as two
};

// Measures for the registers' width of `isa`: some tenths of a second and 512 MiB of memory. The
// best of several runs counts: what others on the machine take is not the machine's limit.
MachineLimits measure_machine_limits(Isa isa, ThreadPool& pool);

// Nothing but loads over `bytes` (a multiple of 256) from `data`: the stream that decoding competes
// with. Returns a value that depends on all of them.
int32_t read_all(const std::byte* data, int64_t bytes);

}  // namespace geist::kernels
