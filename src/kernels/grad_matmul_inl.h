// The products of a backward pass, over the registers of S. Included only by grad_matmul_scalar.cc,
// grad_matmul_avx2.cc and grad_matmul_avx512.cc.
//
// The forward product sums along its contiguous dimension and must keep 16 lanes apart; here the
// contiguous dimension is the output's, so an element is one chain in k and a step multiplies a
// broadcast element of a by kRegs registers of b. Blocks of a and b are packed (zeros beyond the
// edge, which the stores leave out): b in strips of kRegs registers that stay in the L1 cache while
// the strips of a, kRows wide, stream from the L2 cache. Between blocks of k an accumulator waits
// in c, in f32 as it was in its register: a block's size changes no bit.
#pragma once

#include "kernels/grad_kernels.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

template <class S, int kRows, int kRegs>
struct GradMatmul {
  using F = typename S::F;
  using Reg = typename S::Reg;
  using T = typename Reg::T;

  static constexpr int64_t kStrip = kRegs * Reg::kLanes;
  static constexpr int64_t kDepth = 192;
  static constexpr int64_t kRowBlock = 384 / kRows * kRows;
  static constexpr int64_t kColBlock = 384 / kStrip * kStrip;

  // ---- packing: [strip][k][lanes of the strip]

  static void pack_b(const OuterProduct& p, int64_t k, int64_t depth, int64_t col, int64_t cols,
                     float* out) {
    for (int64_t n = 0; n < cols; n += kStrip) {
      const float* row = p.b + k * p.b_stride + col + n;
      const int64_t left = cols - n;
      for (int64_t d = 0; d < depth; ++d, row += p.b_stride, out += kStrip) {
        GEIST_UNROLL
        for (int64_t j = 0; j < kRegs; ++j) {
          const int64_t rest = left - j * Reg::kLanes;
          if (rest >= Reg::kLanes) {
            Reg::store(out + j * Reg::kLanes, Reg::load(row + j * Reg::kLanes));
          } else {
            Reg::store(out + j * Reg::kLanes,
                       rest > 0 ? Reg::load_n(row + j * Reg::kLanes, rest) : Reg::zero());
          }
        }
      }
    }
  }

  static void pack_a(const OuterProduct& p, int64_t k, int64_t depth, int64_t row, int64_t rows,
                     float* out) {
    for (int64_t m = 0; m < rows; m += kRows, out += kRows * depth) {
      const int64_t count = rows - m < kRows ? rows - m : kRows;
      const float* a = p.a + (row + m) * p.a_row + k * p.a_depth;
      if (count == kRows && p.a_row == 1) {
        for (int64_t d = 0; d < depth; ++d)
          __builtin_memcpy(out + d * kRows, a + d * p.a_depth, kRows * sizeof(float));
      } else if (count == kRows) {
        for (int64_t d = 0; d < depth; ++d) {
          GEIST_UNROLL
          for (int64_t i = 0; i < kRows; ++i) out[d * kRows + i] = a[i * p.a_row + d * p.a_depth];
        }
      } else {
        for (int64_t d = 0; d < depth; ++d)
          for (int64_t i = 0; i < kRows; ++i)
            out[d * kRows + i] = i < count ? a[i * p.a_row + d * p.a_depth] : 0.0f;
      }
    }
  }

  // ---- a tile of c: kRows by kStrip

  static GEIST_INLINE T load_part(const float* c, int64_t n) {
    if (n >= Reg::kLanes) return Reg::load(c);
    return n > 0 ? Reg::load_n(c, n) : Reg::zero();
  }
  static GEIST_INLINE void store_part(float* c, T v, int64_t n) {
    if (n >= Reg::kLanes) {
      Reg::store(c, v);
    } else if (n > 0) {
      Reg::store_n(c, v, n);
    }
  }

  template <bool kWhole>
  static GEIST_INLINE void tile(const float* a, const float* b, int64_t depth, float* c,
                                int64_t c_stride, int64_t rows, int64_t cols, bool accumulate) {
    T acc[kRows][kRegs];
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        const float* from = c + i * c_stride + j * Reg::kLanes;
        if (!accumulate) {
          acc[i][j] = Reg::zero();
        } else if (kWhole) {
          acc[i][j] = Reg::load(from);
        } else {
          acc[i][j] = i < rows ? load_part(from, cols - j * Reg::kLanes) : Reg::zero();
        }
      }
    }
    for (int64_t d = 0; d < depth; ++d, a += kRows, b += kStrip) {
      T in[kRegs];
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) in[j] = Reg::load(b + j * Reg::kLanes);
      GEIST_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const T factor = Reg::keep(Reg::set1(a[i]));
        GEIST_UNROLL
        for (int j = 0; j < kRegs; ++j) acc[i][j] = Reg::fma(factor, in[j], acc[i][j]);
      }
    }
    GEIST_UNROLL
    for (int i = 0; i < kRows; ++i) {
      GEIST_UNROLL
      for (int j = 0; j < kRegs; ++j) {
        float* to = c + i * c_stride + j * Reg::kLanes;
        if (kWhole) {
          Reg::store(to, acc[i][j]);
        } else if (i < rows) {
          store_part(to, acc[i][j], cols - j * Reg::kLanes);
        }
      }
    }
  }

  static void block(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride,
                    int64_t rows, int64_t cols, bool accumulate) {
    for (int64_t n = 0; n < cols; n += kStrip) {
      for (int64_t m = 0; m < rows; m += kRows) {
        const float* a_strip = a + m * depth;
        const float* b_strip = b + n * depth;
        float* to = c + m * c_stride + n;
        if (rows - m >= kRows && cols - n >= kStrip) {
          tile<true>(a_strip, b_strip, depth, to, c_stride, kRows, kStrip, accumulate);
        } else {
          tile<false>(a_strip, b_strip, depth, to, c_stride, rows - m, cols - n, accumulate);
        }
      }
    }
  }

  static void outer_product(const OuterProduct& p) {
    alignas(64) float a[kRowBlock * kDepth];
    alignas(64) float b[kColBlock * kDepth];
    if (p.depth == 0 && !p.accumulate) {
      for (int64_t m = 0; m < p.rows; ++m)
        for (int64_t n = 0; n < p.cols; ++n) p.c[m * p.c_stride + n] = 0.0f;
    }
    for (int64_t n = 0; n < p.cols; n += kColBlock) {
      const int64_t cols = p.cols - n < kColBlock ? p.cols - n : kColBlock;
      for (int64_t k = 0; k < p.depth; k += kDepth) {
        const int64_t depth = p.depth - k < kDepth ? p.depth - k : kDepth;
        pack_b(p, k, depth, n, cols, b);
        for (int64_t m = 0; m < p.rows; m += kRowBlock) {
          const int64_t rows = p.rows - m < kRowBlock ? p.rows - m : kRowBlock;
          pack_a(p, k, depth, m, rows, a);
          block(a, b, depth, p.c + m * p.c_stride + n, p.c_stride, rows, cols,
                p.accumulate || k > 0);
        }
      }
    }
  }

  static void transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out,
                        int64_t out_stride) {
    constexpr int64_t kTile = 16;  // a cache line of either side
    for (int64_t r = 0; r < rows; r += kTile) {
      const int64_t r_end = r + kTile < rows ? r + kTile : rows;
      for (int64_t c = 0; c < cols; c += kTile) {
        const int64_t c_end = c + kTile < cols ? c + kTile : cols;
        for (int64_t j = c; j < c_end; ++j)
          for (int64_t i = r; i < r_end; ++i) out[j * out_stride + i] = in[i * in_stride + j];
      }
    }
  }
};

template <class S, int kRows, int kRegs>
void fill_grad_matmul(GradKernels& k) {
  k.outer_product = GradMatmul<S, kRows, kRegs>::outer_product;
  k.transpose = GradMatmul<S, kRows, kRegs>::transpose;
}

}  // namespace geist::kernels
