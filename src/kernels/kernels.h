// The table of kernels of one instruction set. Callers choose a table once (for a model, a trainer)
// and pass it on; tests run every table side by side and compare bytes.
//
// All functions are pure: no allocation, no globals, safe to call from many threads on disjoint
// outputs. Pointers need no alignment unless stated. Orders of accumulation: docs/numerics.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/attention.h"
#include "kernels/tensor_type.h"

namespace geist::kernels {

enum class Isa {
  kPortable,  // plain C++ for any processor; fma from doubles where there is no instruction for it
  kScalar,    // the same source compiled with that instruction, or kPortable where there is none
  kAvx2,      // with FMA and F16C
  kAvx512,    // F, BW, DQ, VL
  kAvx512Vnni,  // and VNNI
  kAvx512Amx,   // and the matrix unit
  kNeon,        // AArch64
  kNeonDot,     // with the dot product instructions of Armv8.2
};

// One block of 32 activations, quantised to 8 bits: x[i] ~ scale * codes[i]. See docs/numerics.md.
struct alignas(64) Q8Block {
  int8_t codes[32];
  float scale;
  int32_t code_sum[2];  // of codes[0..15] and codes[16..31]
  // scale * code_sum of the first half, of the second half, and of both: what offsets are
  // multiplied by.
  float sum[3];
};
static_assert(sizeof(Q8Block) == 64);

// Rows of such blocks lie in slabs of 8 blocks (256 columns): all tokens of the first slab, then of
// the next, so that a product that advances over the columns reads them in one line. The last slab
// is whole too; what is behind the end of the rows is not read.
inline constexpr int64_t kSlabBlocks = 8;
[[gnu::always_inline]] constexpr int64_t q8_index(int64_t tokens, int64_t token, int64_t block) {
  return (block / kSlabBlocks * tokens + token) * kSlabBlocks + block % kSlabBlocks;
}
constexpr int64_t q8_count(int64_t tokens, int64_t cols) {
  return (cols / 32 + kSlabBlocks - 1) / kSlabBlocks * kSlabBlocks * tokens;
}

enum class RopePairing {
  kAdjacent,  // (2i, 2i+1): llama, command-r, granite, smollm3
  kHalves,    // (i, i + rot/2): all others ("NEOX")
};

struct Kernels {
  Isa isa;
  std::string_view name;  // "portable", "scalar", "avx2", "avx512f", "avx512vnni", "avx512amx",
                          // "neon", "neondot"

  // ---- float matrix product: y[t * y_stride + r] = dot(w row r, x row t), 0 <= r < rows, 0 <= t <
  // tokens. w: rows of `cols` weights of type F32, F16 or BF16, w_stride bytes apart. x: f32,
  // x_stride floats apart.
  void (*matmul_float)(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows,
                       int64_t cols, const float* x, int64_t x_stride, int64_t tokens, float* y,
                       int64_t y_stride);

  // ---- quantised matrix product on packed panels of 16 rows (panel.h).
  // panels: ceil(rows / 16) panels of panel_bytes(type, cols). x: tokens rows of cols / 32 blocks,
  // in slabs. Writes only the first `rows` of the last panel.
  void (*matmul_panels)(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                        const Q8Block* x, int64_t tokens, float* y, int64_t y_stride);
  // Packs `rows` (1..16) rows of the file's layout, w_stride bytes apart, into one panel. Missing
  // rows are zero.
  void (*pack_panel)(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows,
                     int64_t cols, std::byte* panel);
  // x[cols] -> cols / 32 blocks, one behind the other. cols is a multiple of 32.
  void (*quantize_q8)(const float* x, int64_t cols, Q8Block* out);

  // ---- attention over pages: attention.h. For heads [first_head, first_head + head_count), which
  // share a kv head.
  void (*attention)(const AttentionShape& shape, const AttentionQuery* queries, int64_t query_count,
                    int64_t first_head, int64_t head_count);

  // ---- rows. n is the row length; in and out may be the same pointer.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n,
                   float* out);  // weight may be null
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int64_t n,
                     float* out);  // bias, weight may be null
  void (*softmax)(const float* x, int64_t n, float* out);
  void (*add)(const float* a, const float* b, int64_t n, float* out);
  void (*mul)(const float* a, const float* b, int64_t n, float* out);
  void (*scale)(const float* x, float factor, int64_t n, float* out);
  void (*add_scaled)(const float* a, const float* b, float factor, int64_t n,
                     float* out);  // fma(b, factor, a)
  void (*clamp)(const float* x, float low, float high, int64_t n, float* out);
  void (*softcap)(const float* x, float cap, int64_t n, float* out);  // cap * tanh(x / cap)
  void (*silu)(const float* x, int64_t n, float* out);
  void (*gelu)(const float* x, int64_t n, float* out);                          // tanh form
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);  // silu(gate) * up
  void (*gelu_mul)(const float* gate, const float* up, int64_t n, float* out);  // gelu(gate) * up
  // gpt-oss: g = min(gate, limit), u = clamp(up, -limit, limit); g * sigmoid(alpha * g) * (u + 1)
  void (*swiglu_oai)(const float* gate, const float* up, float alpha, float limit, int64_t n,
                     float* out);
  void (*sigmoid)(const float* x, int64_t n, float* out);
  void (*exp)(const float* x, int64_t n, float* out);
  // Rotates the first 2 * pairs elements of each of `heads` vectors of head_dim; cos, sin: [pairs].
  void (*rope)(float* x, int64_t heads, int64_t head_dim, const float* cos, const float* sin,
               int64_t pairs, RopePairing pairing);
  float (*dot)(const float* a, const float* b, int64_t n);  // the 16-lane order of matmul_float
};

// Null when this processor cannot run it.
const Kernels* kernels_for(Isa isa);
// All that this processor can run: portable first, scalar next, the fastest last.
std::span<const Kernels* const> all_kernels();
// The fastest, or the one that GEIST_ISA names (avx512: the fastest without AMX); null with a
// message in *error when there is no such name or this processor cannot run it.
const Kernels* default_kernels(const char** error);

}  // namespace geist::kernels
