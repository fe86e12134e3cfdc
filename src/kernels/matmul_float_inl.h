// Matrix product with F32, F16 or BF16 weights, over the lanes of S. Included only by
// matmul_float_*.cc and scalar_fma.cc.
//
// y[t][r] = tree16 of 16 lanes; lane j is the chain of w[r][k] * x[t][k] over k = j (mod 16),
// ascending, one fused multiply-add each, the row padded with zeros to a multiple of 16. Each (r,
// t) has its own accumulator, so tiling changes no bit; nor does keeping an accumulator in memory
// for a while.
//
// One token (decode): kDecodeRows rows at once straight from the mapped file, each weight read
// once; bound by memory. More tokens: blocks of kRowBlock rows by kTokenBlock tokens, whose
// accumulators stay in the L2 cache while k advances by kDepth. For each step a tile of kTileRows
// rows is widened to f32 in an L1 buffer [kDepth / 16][kTileRows][16] and meets all tokens of the
// block, kTileTokens at a time, in registers. A micro-kernel step loads kTileRows + kTileTokens
// registers for their product of FMAs. The weights of a row block (kRowBlock * cols) are read from
// memory once and then from the L2 cache.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

// How 16 weights are read: from element k of a row on, all or the first n.
template <class S>
struct F32Row {
  static constexpr int64_t kBytes = 4;
  static GEIST_INLINE typename S::F load(const std::byte* row, int64_t k) {
    return S::load(reinterpret_cast<const float*>(row) + k);
  }
  static GEIST_INLINE typename S::F load_n(const std::byte* row, int64_t k, int64_t n) {
    return S::load_n(reinterpret_cast<const float*>(row) + k, n);
  }
};
template <class S>
struct F16Row {
  static constexpr int64_t kBytes = 2;
  static GEIST_INLINE typename S::F load(const std::byte* row, int64_t k) {
    return S::load_f16(row + 2 * k);
  }
  static GEIST_INLINE typename S::F load_n(const std::byte* row, int64_t k, int64_t n) {
    return S::load_f16_n(row + 2 * k, n);
  }
};
template <class S>
struct Bf16Row {
  static constexpr int64_t kBytes = 2;
  static GEIST_INLINE typename S::F load(const std::byte* row, int64_t k) {
    return S::load_bf16(row + 2 * k);
  }
  static GEIST_INLINE typename S::F load_n(const std::byte* row, int64_t k, int64_t n) {
    return S::load_bf16_n(row + 2 * k, n);
  }
};

struct FloatProduct {
  const std::byte* w;
  int64_t w_stride, rows, cols;
  const float* x;
  int64_t x_stride, tokens;
  float* y;
  int64_t y_stride;
};

template <class S, class Row>
struct FloatMatmul {
  using F = typename S::F;
  using Reg = typename S::Reg;
  using T = typename Reg::T;

  static constexpr int64_t kTileRows = S::kTileRows, kTileTokens = S::kTileTokens;
  static constexpr int64_t kDepth = 512;
  static constexpr int64_t kRowBlock = 64;
  static constexpr int64_t kTokenBlock = 96;
  static_assert(kRowBlock % kTileRows == 0 && kTokenBlock % kTileTokens == 0);
  static_assert(kTileRows % 4 == 0 || kTileRows == 2);

  // ---- one token

  // Eight streams are more than the processor prefetches well by itself, and it does not know that
  // the next eight begin where these end: F16 rows of 4 kB read 15% faster so than asked for 512
  // bytes ahead within the row (Zen 5; docs/log.md).
  static constexpr int64_t kPrefetchBytes = 1024;

  template <int kRows>
  static GEIST_INLINE void decode_rows(const FloatProduct& p, int64_t r) {
    const std::byte* row[kRows];
    F acc[kRows];
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      row[i] = p.w + (r + i) * p.w_stride;
      acc[i] = S::zero();
    }
    const int64_t row_bytes = p.cols * Row::kBytes;
    int64_t k = 0;
    for (; k + 32 <= p.cols; k += 32) {
      const F x0 = S::load(p.x + k), x1 = S::load(p.x + k + 16);
      int64_t ahead = k * Row::kBytes + kPrefetchBytes;
      if (ahead >= row_bytes) ahead += (kRows - 1) * p.w_stride;
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        __builtin_prefetch(row[i] + ahead);
        acc[i] = S::fma(Row::load(row[i], k), x0, acc[i]);
        acc[i] = S::fma(Row::load(row[i], k + 16), x1, acc[i]);
      }
    }
    for (; k + 16 <= p.cols; k += 16) {
      const F x = S::load(p.x + k);
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) acc[i] = S::fma(Row::load(row[i], k), x, acc[i]);
    }
    if (k < p.cols) {
      const F x = S::load_n(p.x + k, p.cols - k);
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        acc[i] = S::fma(Row::load_n(row[i], k, p.cols - k), x, acc[i]);
      }
    }
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) p.y[r + i] = S::sum(acc[i]);
  }

  static void decode(const FloatProduct& p) {
    int64_t r = 0;
    for (; r + S::kDecodeRows <= p.rows; r += S::kDecodeRows) decode_rows<S::kDecodeRows>(p, r);
    for (; r < p.rows; ++r) decode_rows<1>(p, r);
  }

  // ---- many tokens

  // The weights of the tile after the one at hand, asked for a little at a time while that one is
  // multiplied: a tile comes from memory far slower than it is widened.
  struct Ahead {
    const std::byte* row = nullptr;
    int64_t stride = 0, rows = 0, bytes = 0, offset = 0;

    GEIST_INLINE void fetch(int64_t lines) {
      for (; lines > 0 && rows > 0; --lines) {
        __builtin_prefetch(row + offset, 0, 2);
        offset += 64;
        if (offset >= bytes) {
          offset = 0;
          row += stride;
          --rows;
        }
      }
    }
  };

  // Rows r .. r + kTileRows (those past the last are zero), elements k .. k + depth, to f32.
  static void widen_tile(const FloatProduct& p, int64_t r, int64_t k, int64_t depth, float* tile) {
    for (int64_t i = 0; i < kTileRows; ++i, tile += 16) {
      const bool exists = r + i < p.rows;
      const std::byte* row = p.w + (exists ? (r + i) * p.w_stride : 0);
      float* to = tile;
      int64_t d = 0;
      for (; d + 16 <= depth; d += 16, to += kTileRows * 16) {
        S::store(to, exists ? Row::load(row, k + d) : S::zero());
      }
      if (d < depth) S::store(to, exists ? Row::load_n(row, k + d, depth - d) : S::zero());
    }
  }

  // acc[token][row][16] += the tile times kTokens rows of x, on lanes [half, half + Reg::kLanes).
  // Meanwhile the rows of x at next_x come to the L1 cache.
  template <int kTokens>
  static GEIST_INLINE void multiply_half(const float* tile, const float* x, int64_t x_stride,
                                         int64_t depth, int64_t half, bool first, float* acc,
                                         const float* next_x) {
    constexpr int kRows = S::kTileRows;
    T sum[kTokens][kRows];
    GEIST_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        sum[t][i] = first ? Reg::zero() : Reg::load(acc + (t * kRows + i) * 16 + half);
      }
    }
    const float* x_begin = x;
    tile += half;
    x += half;
    int64_t d = 0;
    for (; d + 16 <= depth; d += 16, tile += kRows * 16, x += 16) {
      T in[kTokens];
      GEIST_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        in[t] = Reg::load(x + t * x_stride);
        __builtin_prefetch(next_x + (x - x_begin) + t * x_stride);
      }
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const T weight = Reg::keep(Reg::load(tile + i * 16));
        GEIST_UNROLL
        for (int t = 0; t < kTokens; ++t) sum[t][i] = Reg::fma(weight, in[t], sum[t][i]);
      }
    }
    if (d < depth) {
      const int64_t left = depth - d - half;
      const int64_t n = left < 0 ? 0 : (left < Reg::kLanes ? left : Reg::kLanes);
      GEIST_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        const T in = Reg::load_n(x + t * x_stride, n);
        GEIST_UNROLL
        for (int i = 0; i < kRows; ++i) {
          sum[t][i] = Reg::fma(Reg::load(tile + i * 16), in, sum[t][i]);
        }
      }
    }
    GEIST_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) Reg::store(acc + (t * kRows + i) * 16 + half, sum[t][i]);
    }
  }

  template <int kTokens>
  static void multiply(const float* tile, const float* x, int64_t x_stride, int64_t depth,
                       bool first, float* acc, const float* next_x) {
    for (int64_t half = 0; half < 16; half += Reg::kLanes) {
      multiply_half<kTokens>(tile, x, x_stride, depth, half, first, acc, next_x);
    }
  }

  static void multiply_tokens(const float* tile, const FloatProduct& p, int64_t t, int64_t t_end,
                              int64_t k, int64_t depth, float* acc, Ahead& ahead) {
    const float* x = p.x + t * p.x_stride + k;
    const int64_t acc_step = kTileRows * 16;
    const int64_t lines = kTileRows * depth * Row::kBytes / 64 * kTileTokens / (t_end - t) + 1;
    for (; t + kTileTokens <= t_end; t += kTileTokens) {
      ahead.fetch(lines);
      const float* next_x = t + 2 * kTileTokens <= t_end ? x + kTileTokens * p.x_stride : x;
      multiply<S::kTileTokens>(tile, x, p.x_stride, depth, k == 0, acc, next_x);
      x += kTileTokens * p.x_stride;
      acc += kTileTokens * acc_step;
    }
    static_assert(kTileTokens <= 3);
    ahead.fetch(lines);
    if (t + 2 == t_end) multiply<2>(tile, x, p.x_stride, depth, k == 0, acc, x);
    if (t + 1 == t_end) multiply<1>(tile, x, p.x_stride, depth, k == 0, acc, x);
  }

  // y[0 .. rows) = the sums of a tile's accumulators for one token.
  static void reduce_tile(const float* acc, int64_t rows, float* y) {
    float out[kTileRows < 4 ? 4 : kTileRows];
    if constexpr (kTileRows % 4 == 0) {
      for (int64_t i = 0; i < kTileRows; i += 4) {
        const float* a = acc + i * 16;
        S::sum4(S::load(a), S::load(a + 16), S::load(a + 32), S::load(a + 48), out + i);
      }
    } else {
      for (int64_t i = 0; i < kTileRows; ++i) out[i] = S::sum(S::load(acc + i * 16));
    }
    for (int64_t i = 0; i < rows; ++i) y[i] = out[i];
  }

  static Ahead tile_after(const FloatProduct& p, int64_t r_begin, int64_t r, int64_t r_end,
                          int64_t k, int64_t depth) {
    const bool in_column = r + kTileRows < r_end;
    const int64_t next_r = in_column ? r + kTileRows : r_begin;
    const int64_t next_k = in_column ? k : k + depth;
    if (next_k >= p.cols) return {};
    const int64_t rows = r_end - next_r < kTileRows ? r_end - next_r : kTileRows;
    const int64_t left = p.cols - next_k < kDepth ? p.cols - next_k : kDepth;
    return {p.w + next_r * p.w_stride + next_k * Row::kBytes, p.w_stride, rows, left * Row::kBytes,
            0};
  }

  static void block(const FloatProduct& p, int64_t r_begin, int64_t t_begin, int64_t t_end,
                    float* tile, float* acc) {
    const int64_t r_end = p.rows - r_begin < kRowBlock ? p.rows : r_begin + kRowBlock;
    constexpr int64_t kAccStep = kTokenBlock * kTileRows * 16;
    for (int64_t k = 0; k < p.cols; k += kDepth) {
      const int64_t depth = p.cols - k < kDepth ? p.cols - k : kDepth;
      float* a = acc;
      for (int64_t r = r_begin; r < r_end; r += kTileRows, a += kAccStep) {
        widen_tile(p, r, k, depth, tile);
        Ahead ahead = tile_after(p, r_begin, r, r_end, k, depth);
        multiply_tokens(tile, p, t_begin, t_end, k, depth, a, ahead);
      }
    }
    for (int64_t t = t_begin; t < t_end; ++t) {
      const float* a = acc + (t - t_begin) * kTileRows * 16;
      for (int64_t r = r_begin; r < r_end; r += kTileRows, a += kAccStep) {
        const int64_t rows = r_end - r < kTileRows ? r_end - r : kTileRows;
        reduce_tile(a, rows, p.y + t * p.y_stride + r);
      }
    }
  }

  static void run(const FloatProduct& p) {
    if (p.tokens == 1) return decode(p);
    alignas(64) float tile[kDepth * kTileRows];
    alignas(64) float acc[kRowBlock * kTokenBlock * 16];
    // Token blocks of about equal size: each widens the weights again.
    const int64_t blocks = (p.tokens + kTokenBlock - 1) / kTokenBlock;
    const int64_t tiles = (p.tokens + kTileTokens - 1) / kTileTokens;
    const int64_t step = (tiles + blocks - 1) / blocks * kTileTokens;
    for (int64_t r = 0; r < p.rows; r += kRowBlock) {
      for (int64_t t = 0; t < p.tokens; t += step) {
        block(p, r, t, p.tokens - t < step ? p.tokens : t + step, tile, acc);
      }
    }
  }
};

template <class S>
void matmul_float(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows, int64_t cols,
                  const float* x, int64_t x_stride, int64_t tokens, float* y, int64_t y_stride) {
  const FloatProduct p{w, w_stride, rows, cols, x, x_stride, tokens, y, y_stride};
  if (type == TensorType::kF32) {
    FloatMatmul<S, F32Row<S>>::run(p);
  } else if (type == TensorType::kF16) {
    FloatMatmul<S, F16Row<S>>::run(p);
  } else if (type == TensorType::kBF16) {
    FloatMatmul<S, Bf16Row<S>>::run(p);
  } else {
    __builtin_trap();  // a quantised matrix goes through matmul_panels
  }
}

template <class S>
void fill_float_kernels(Kernels& k) {
  k.matmul_float = matmul_float<S>;
}

}  // namespace geist::kernels
