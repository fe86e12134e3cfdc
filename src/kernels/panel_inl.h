// The product on panels, once for all vector instruction sets. V (panel_simd_*.h) is a set of
// 32-bit lanes, 8 or 16 at a time; a panel's 16 rows are 16 / V::kLanes vectors.
//
// Few tokens (decode) are limited by reading the weights: fused() decodes a chunk into registers
// and multiplies it at once, a few panels side by side. Many tokens (prefill) are limited by
// multiply-adds: a block of 256 columns of a group of panels is decoded once into a buffer that
// stays in the second-level cache, a tile of tokens is gathered into one that stays in the first,
// and tile() holds panels x tokens accumulators in registers while both stream by. Between blocks
// of columns the accumulators rest in y: storing an f32 does not change it. Each output has one
// accumulator that takes the chunks in ascending order, so both paths and all sizes of tile give
// the same bits (docs/numerics.md).
//
// Everything here is a template on V or inlined by force, so that nothing compiled for one
// instruction set can be linked into code for another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/kernels.h"
#include "kernels/panel.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

// f(integral_constant 0), f(1), ... f(kCount - 1), unrolled.
template <int kCount, typename F>
GEIST_INLINE void unroll(F&& f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, kIndex>{}), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

#define GEIST_LAMBDA __attribute__((always_inline))

// One vector's lanes of a chunk: operands of the product for each group of 4 columns.
template <typename V>
struct Codes {
  typename V::I of_group[8];
};

template <typename V>
struct Scales {
  typename V::F scale[2], offset[2];
};

template <typename V, const PanelFormat& f>
GEIST_INLINE Codes<V> stored_codes(const uint8_t* chunk) {
  using I = typename V::I;
  Codes<V> w;
  if constexpr (f.low_bits == 8) {
    unroll<8>([&](auto g) GEIST_LAMBDA { w.of_group[g] = V::load_bytes(chunk + 64 * g); });
  } else {
    constexpr int kVectors = f.low_bits;  // each holds 8 / low_bits groups
    const I mask = V::splat_byte((1 << f.low_bits) - 1);
    unroll<kVectors>([&](auto j) GEIST_LAMBDA {
      const I plane = V::load_bytes(chunk + 64 * j);
      unroll<8 / kVectors>([&](auto field) GEIST_LAMBDA {
        w.of_group[kVectors * field + j] =
            V::bit_and(V::template shift<-f.low_bits * field>(plane), mask);
      });
    });
  }
  if constexpr (f.high_bits > 0) {
    constexpr int kVectors = f.high_bits;
    const I mask = V::splat_byte(((1 << f.high_bits) - 1) << f.low_bits);
    unroll<kVectors>([&](auto j) GEIST_LAMBDA {
      const I plane = V::load_bytes(chunk + f.low_bytes() + 64 * j);
      unroll<8 / kVectors>([&](auto field) GEIST_LAMBDA {
        I& code = w.of_group[kVectors * field + j];
        code = V::or_masked(code, V::template shift<f.low_bits - f.high_bits * field>(plane), mask);
      });
    });
  }
  return w;
}

// chunk: of this vector's first lane. kSigned: canonical codes (int8) instead of biased ones.
template <typename V, const PanelFormat& f>
GEIST_INLINE Codes<V> operands(const uint8_t* chunk) {
  Codes<V> w = stored_codes<V, f>(chunk);
  if constexpr (f.has_lut) {
    const typename V::I table = V::load_table(f.lut);
    unroll<8>([&](auto g) GEIST_LAMBDA { w.of_group[g] = V::lookup(table, w.of_group[g]); });
  }
  if constexpr (V::template Dot<f.max_code>::kSigned) {
    const typename V::I bias = V::splat_byte(f.bias);
    unroll<8>([&](auto g) GEIST_LAMBDA { w.of_group[g] = V::sub_bytes(w.of_group[g], bias); });
  }
  return w;
}

// d and dmin of a 256-block, for one vector of rows.
template <typename V>
struct SuperScale {
  typename V::F d, minus_dmin;
};

template <typename V, const PanelFormat& f>
GEIST_INLINE SuperScale<V> super_scale(const uint8_t* header, int lane) {
  SuperScale<V> s;
  s.d = V::load_f16(header + 2 * lane);
  if constexpr (f.d_factor != 1) s.d = V::mul(s.d, V::splat(f.d_factor));
  if constexpr (f.offset) s.minus_dmin = V::neg(V::load_f16(header + 32 + 2 * lane));
  return s;
}

// at: the chunk's scales.
template <typename V, const PanelFormat& f>
GEIST_INLINE Scales<V> scales_of(const uint8_t* at, int lane, const SuperScale<V>& super) {
  Scales<V> s;
  if constexpr (!f.super()) {
    s.scale[0] = V::load_f16(at + 2 * lane);
    if constexpr (f.offset) s.offset[0] = V::load_f16(at + 32 + 2 * lane);
  } else {
    unroll<32 / f.group>([&](auto h) GEIST_LAMBDA {
      if constexpr (f.scales == PanelScales::kNibbles) {
        s.scale[h] = V::mul(super.d, V::load_low_nibbles(at + 16 * h + lane));
        s.offset[h] = V::mul(super.minus_dmin, V::load_high_nibbles(at + 16 * h + lane));
      } else if constexpr (f.offset) {
        s.scale[h] = V::mul(super.d, V::load_int8(at + 32 * h + lane));
        s.offset[h] = V::mul(super.minus_dmin, V::load_int8(at + 32 * h + 16 + lane));
      } else {
        s.scale[h] = V::mul(super.d, V::load_int8(at + 16 * h + lane));
      }
    });
  }
  return s;
}

template <const PanelFormat& f>
inline constexpr int64_t kBlockBytes = f.super()
                                           ? f.header_bytes() + kChunksPerSuper* f.chunk_bytes()
                                           : f.chunk_bytes();

// Where chunk c of a panel begins.
template <const PanelFormat& f>
GEIST_INLINE const uint8_t* chunk_at(const uint8_t* panel, int64_t c) {
  if constexpr (!f.super()) return panel + c * f.chunk_bytes();
  return panel + c / kChunksPerSuper * kBlockBytes<f> + f.header_bytes() +
         c % kChunksPerSuper * f.chunk_bytes();
}

GEIST_INLINE int32_t load_dword(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}

// What the integer sum starts at, so that it ends as the sum over canonical codes.
template <typename V, const PanelFormat& f>
GEIST_INLINE int32_t start_of_sum(const Q8Block& x, int h) {
  if constexpr (f.bias == 0 || V::template Dot<f.max_code>::kSigned) return 0;
  if constexpr (f.group == 16) return -f.bias * x.code_sum[h];
  return -f.bias * (x.code_sum[0] + x.code_sum[1]);
}

// ---- few tokens ----

// Hardware alone does not keep enough reads under way, the less so the more work a byte means:
// asking this far ahead made decode up to 1.6 times faster.
inline constexpr int64_t kPrefetchBytes = 4096;

// The lines of the chunk that lies kPrefetchBytes ahead; behind the end of a panel, that is in the
// next panel but kPanels - 1, which are read at the same time as this one.
template <const PanelFormat& f, int kPanels>
GEIST_INLINE void prefetch_ahead(const uint8_t* chunk, int64_t at, int64_t panel_stride) {
  const uint8_t* ahead = chunk + kPrefetchBytes;
  if (at + kPrefetchBytes >= panel_stride) ahead += (kPanels - 1) * panel_stride;
  unroll<(f.chunk_bytes() + 63) / 64>(
      [&](auto line) GEIST_LAMBDA { __builtin_prefetch(ahead + 64 * line, 0, 3); });
}

// kPanels panels, one behind the other in memory, times kTokens of all_tokens; lanes of the last
// panel from `last_lanes` on are not written.
template <typename V, const PanelFormat& f, int kPanels, int kTokens>
void fused(const uint8_t* panels, int64_t panel_stride, int64_t last_lanes, int64_t chunks,
           const Q8Block* x, int64_t all_tokens, float* y, int64_t y_stride) {
  using F = typename V::F;
  using Dot = typename V::template Dot<f.max_code>;
  constexpr int kParts = kPanelRows / V::kLanes, kVectors = kPanels * kParts,
                kGroups = 32 / f.group;
  constexpr int kStep = f.super() ? kChunksPerSuper : 1;
  const uint8_t* panels_begin = panels;
  F acc[kVectors][kTokens];
  unroll<kVectors>([&](auto v) GEIST_LAMBDA {
    unroll<kTokens>([&](auto t) GEIST_LAMBDA { acc[v][t] = V::zero(); });
  });
  for (int64_t c0 = 0; c0 < chunks; c0 += kStep, panels += kBlockBytes<f>) {
    SuperScale<V> super[kVectors];
    if constexpr (f.super()) {
      unroll<kVectors>([&](auto v) GEIST_LAMBDA {
        super[v] = super_scale<V, f>(panels + v / kParts * panel_stride, v % kParts * V::kLanes);
      });
    }
    for (int c = 0; c < kStep; ++c) {
      const Q8Block* block = x + q8_index(all_tokens, 0, c0 + c);
      unroll<kVectors>([&](auto v) GEIST_LAMBDA {
        constexpr int kLane = v % kParts * V::kLanes;
        const uint8_t* chunk =
            panels + v / kParts * panel_stride + f.header_bytes() + c * f.chunk_bytes();
        if constexpr (kLane == 0)
          prefetch_ahead<f, kPanels>(chunk, chunk - panels_begin - v / kParts * panel_stride,
                                     panel_stride);
        const Codes<V> w = operands<V, f>(chunk + 4 * kLane);
        const Scales<V> s =
            scales_of<V, f>(chunk + f.low_bytes() + f.high_bytes(), kLane, super[v]);
        unroll<kTokens>([&](auto t) GEIST_LAMBDA {
          const Q8Block& b = block[t * kSlabBlocks];
          unroll<kGroups>([&](auto h) GEIST_LAMBDA {
            Dot dot(V::splat_int(start_of_sum<V, f>(b, h)));
            unroll<8 / kGroups>([&](auto g) GEIST_LAMBDA {
              constexpr int kGroup = h * (8 / kGroups) + g;
              dot.template step<g, 8 / kGroups>(w.of_group[kGroup],
                                                V::splat_int(load_dword(b.codes + 4 * kGroup)));
            });
            acc[v][t] =
                V::fma(V::to_float(dot.sum), V::mul(s.scale[h], V::splat(b.scale)), acc[v][t]);
            if constexpr (f.offset)
              acc[v][t] = V::fma(s.offset[h], V::splat(b.sum[kGroups == 1 ? 2 : h]), acc[v][t]);
          });
        });
      });
    }
  }
  unroll<kVectors>([&](auto v) GEIST_LAMBDA {
    const int64_t lanes = v / kParts == kPanels - 1 ? last_lanes : kPanelRows;
    unroll<kTokens>([&](auto t) GEIST_LAMBDA {
      V::store_first(y + t * y_stride + v * V::kLanes, acc[v][t], lanes - v % kParts * V::kLanes);
    });
  });
}

// ---- many tokens ----

inline constexpr int kBlockChunks = 8;   // chunks decoded at a time: 256 columns, a slab of tokens
inline constexpr int kGroupPanels = 32;  // panels that share a gathered block of tokens
inline constexpr int kStepTokens = 192;  // tokens that share a decoded block of panels

// A panel's block of columns, decoded.
struct PanelBlock {
  alignas(64) uint8_t codes[kBlockChunks][8][64];
  float scale[kBlockChunks][2][kPanelRows], offset[kBlockChunks][2][kPanelRows];
};

// The same columns of kTokens tokens.
template <int kTokens>
struct TokenBlock {
  alignas(64) int8_t codes[kBlockChunks][kTokens][32];
  float scale[kBlockChunks][kTokens];
  int32_t start[kBlockChunks][2][kTokens];
  float sum[kBlockChunks][2][kTokens];
};

template <typename V, const PanelFormat& f>
void decode_block(const uint8_t* panel, int64_t first, int count, PanelBlock& out) {
  SuperScale<V> super;
  for (int lane = 0; lane < kPanelRows; lane += V::kLanes) {
    if constexpr (f.super())
      super = super_scale<V, f>(panel + first / kChunksPerSuper * kBlockBytes<f>, lane);
    for (int c = 0; c < count; ++c) {
      const uint8_t* chunk = chunk_at<f>(panel, first + c);
      const Codes<V> w = operands<V, f>(chunk + 4 * lane);
      const Scales<V> s = scales_of<V, f>(chunk + f.low_bytes() + f.high_bytes(), lane, super);
      unroll<8>([&](auto g)
                    GEIST_LAMBDA { V::store_bytes(out.codes[c][g] + 4 * lane, w.of_group[g]); });
      unroll<32 / f.group>([&](auto h) GEIST_LAMBDA {
        V::store(out.scale[c][h] + lane, s.scale[h]);
        if constexpr (f.offset) V::store(out.offset[c][h] + lane, s.offset[h]);
      });
    }
  }
}

template <typename V, const PanelFormat& f, int kTokens>
GEIST_INLINE void gather_tokens(const Q8Block* x, int count, int tokens, TokenBlock<kTokens>& out) {
  for (int t = 0; t < tokens; ++t) {
    for (int c = 0; c < count; ++c) {
      const Q8Block& b = x[t * kSlabBlocks + c];
      __builtin_memcpy(out.codes[c][t], b.codes, 32);
      out.scale[c][t] = b.scale;
      for (int h = 0; h < 32 / f.group; ++h) {
        out.start[c][h][t] = start_of_sum<V, f>(b, h);
        if constexpr (f.offset) out.sum[c][h][t] = b.sum[f.group == 32 ? 2 : h];
      }
    }
  }
  for (int t = tokens; t < kTokens; ++t) {  // a matrix unit multiplies them too
    for (int c = 0; c < count; ++c) out.scale[c][t] = out.sum[c][0][t] = out.sum[c][1][t] = 0;
  }
}

// kTilePanels x kTokens accumulators [panel][token][row of the panel] over `count` chunks; they
// begin at +0 if `first`.
template <typename V, int kMaxCode, int kGroupCols, bool kOffset, int kTokens>
void tile(const PanelBlock* w, const TokenBlock<V::kTileTokens>& x, int count, bool first,
          float* out) {
  using F = typename V::F;
  using Dot = typename V::template Dot<kMaxCode>;
  constexpr int kParts = kPanelRows / V::kLanes, kVectors = V::kTilePanels * kParts,
                kGroups = 32 / kGroupCols;
  const auto place = [&](auto v, auto t) GEIST_LAMBDA {
    return out + (v / kParts * V::kTileTokens + t) * kPanelRows + v % kParts * V::kLanes;
  };
  F acc[kVectors][kTokens];
  unroll<kVectors>([&](auto v) GEIST_LAMBDA {
    unroll<kTokens>([&](auto t)
                        GEIST_LAMBDA { acc[v][t] = first ? V::zero() : V::load(place(v, t)); });
  });
  for (int c = 0; c < count; ++c) {
    unroll<kGroups>([&](auto h) GEIST_LAMBDA {
      Dot dot[kVectors][kTokens];
      unroll<kTokens>([&](auto t) GEIST_LAMBDA {
        const auto start = V::splat_int(x.start[c][h][t]);
        unroll<kVectors>([&](auto v) GEIST_LAMBDA { dot[v][t] = Dot(start); });
      });
      unroll<8 / kGroups>([&](auto g) GEIST_LAMBDA {
        constexpr int kGroup = h * (8 / kGroups) + g;
        typename V::I codes[kVectors];
        unroll<kVectors>([&](auto v) GEIST_LAMBDA {
          codes[v] = V::load_bytes(w[v / kParts].codes[c][kGroup] + v % kParts * V::kLanes * 4);
        });
        unroll<kTokens>([&](auto t) GEIST_LAMBDA {
          const auto four = V::splat_int(load_dword(x.codes[c][t] + 4 * kGroup));
          unroll<kVectors>([&](auto v) GEIST_LAMBDA {
            dot[v][t].template step<g, 8 / kGroups>(codes[v], four);
          });
        });
      });
      unroll<kVectors>([&](auto v) GEIST_LAMBDA {
        constexpr int kLane = v % kParts * V::kLanes;
        const F scale = V::load(w[v / kParts].scale[c][h] + kLane);
        unroll<kTokens>([&](auto t) GEIST_LAMBDA {
          acc[v][t] =
              V::fma(V::to_float(dot[v][t].sum), V::mul(scale, V::splat(x.scale[c][t])), acc[v][t]);
        });
        if constexpr (kOffset) {
          const F offset = V::load(w[v / kParts].offset[c][h] + kLane);
          unroll<kTokens>([&](auto t) GEIST_LAMBDA {
            acc[v][t] = V::fma(offset, V::splat(x.sum[c][h][t]), acc[v][t]);
          });
        }
      });
    });
  }
  unroll<kVectors>([&](auto v) GEIST_LAMBDA {
    unroll<kTokens>([&](auto t) GEIST_LAMBDA { V::store(place(v, t), acc[v][t]); });
  });
}

// tile() for a number of tokens known at run time; a matrix unit's own always takes all.
template <typename V, const PanelFormat& f>
GEIST_INLINE void run_tile(int tokens, const PanelBlock* w, const TokenBlock<V::kTileTokens>& x,
                           int count, bool first, float* out) {
  if constexpr (requires { V::template tile<f.group, f.offset>(w, x, count, first, out); }) {
    V::template tile<f.group, f.offset>(w, x, count, first, out);
  } else {
    unroll<V::kTileTokens>([&](auto t) GEIST_LAMBDA {
      if (tokens == t + 1)
        tile<V, V::template Dot<f.max_code>::kClass, f.group, f.offset, t + 1>(w, x, count, first,
                                                                               out);
    });
  }
}

GEIST_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// A group of panels times a step of tokens: the columns advance outermost, so that a block of
// tokens is gathered once for the group and a tile's panels, decoded into the first-level cache,
// meet all its tiles of tokens there. What a tile takes from the second-level cache is its tokens
// and its accumulators, 8 bytes a cycle.
template <typename V, const PanelFormat& f>
struct ManyTokens {
  static constexpr int kTilePanels = V::kTilePanels, kTileTokens = V::kTileTokens;
  static constexpr int kStepTiles = kStepTokens / kTileTokens;
  static constexpr int kTileFloats = kTilePanels * kTileTokens * kPanelRows;
  using Tokens = TokenBlock<kTileTokens>;

  const uint8_t* panels;
  int64_t panel_stride, rows, chunks;
  const Q8Block* x;
  int64_t tokens;
  float* y;
  int64_t y_stride;

  struct Step {
    int64_t first, tokens, tiles;
    // As even as can be: a tile of one token is slow.
    int64_t begin(int64_t i) const { return tokens * i / tiles; }
    int size(int64_t i) const { return static_cast<int>(begin(i + 1) - begin(i)); }
  };

  // The panels that are decoded next, asked for a part at a time while tiles are multiplied: they
  // come from memory slower than they are decoded.
  struct Ahead {
    const uint8_t* panel;
    int64_t stride, bytes;

    GEIST_INLINE void fetch(int64_t part, int64_t parts) const {
      const int64_t lines = (bytes + 63) / 64 * kTilePanels;
      for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; ++i)
        __builtin_prefetch(panel + i % kTilePanels * stride + i / kTilePanels * 64, 0, 2);
    }
  };

  GEIST_INLINE Ahead after(int64_t p, int64_t in_group, int64_t q, int64_t c) const {
    const bool in_column = q + kTilePanels < in_group;
    const int64_t first = p + (in_column ? q + kTilePanels : 0),
                  block = in_column ? c : c + kBlockChunks;
    const int64_t bytes = f.super() ? kBlockBytes<f> : kBlockChunks * kBlockBytes<f>;
    return {panels + first * panel_stride + block / kBlockChunks * bytes, panel_stride, bytes};
  }

  GEIST_INLINE void multiply_block(int64_t p, int64_t in_group, const Step& step, int64_t c,
                                   int count, Tokens* gathered, float* acc) const {
    for (int64_t i = 0; i < step.tiles; ++i)
      gather_tokens<V, f>(x + q8_index(tokens, step.first + step.begin(i), c), count, step.size(i),
                          gathered[i]);
    PanelBlock decoded[kTilePanels];
    for (int64_t q = 0; q < in_group; q += kTilePanels) {
      for (int64_t i = 0; i < kTilePanels; ++i)  // a panel without a partner is its own
        decode_block<V, f>(panels + (p + smaller(q + i, in_group - 1)) * panel_stride, c, count,
                           decoded[i]);
      const Ahead ahead = after(p, in_group, q, c);
      for (int64_t i = 0; i < step.tiles; ++i) {
        ahead.fetch(i, step.tiles);
        run_tile<V, f>(step.size(i), decoded, gathered[i], count, c == 0,
                       acc + (q / kTilePanels * kStepTiles + i) * kTileFloats);
      }
    }
  }

  GEIST_INLINE void store(int64_t p, int64_t in_group, const Step& step, const float* acc) const {
    for (int64_t i = 0; i < step.tiles; ++i) {
      for (int64_t t = 0; t < step.size(i); ++t) {
        float* row = y + (step.first + step.begin(i) + t) * y_stride + p * kPanelRows;
        for (int64_t q = 0; q < in_group; ++q) {
          const float* from = acc + (q / kTilePanels * kStepTiles + i) * kTileFloats +
                              (q % kTilePanels * kTileTokens + t) * kPanelRows;
          const int64_t lanes = smaller(kPanelRows, rows - (p + q) * kPanelRows);
          for (int64_t v = 0; v < kPanelRows; v += V::kLanes)
            if (v < lanes)
              V::store_first(row + q * kPanelRows + v, V::load(from + v),
                             smaller(V::kLanes, lanes - v));
        }
      }
    }
  }

  void run() const {
    const int64_t panel_count = (rows + kPanelRows - 1) / kPanelRows;
    const int64_t tiles = (tokens + kTileTokens - 1) / kTileTokens;
    const int64_t steps = (tiles + kStepTiles - 1) / kStepTiles;
    Tokens gathered[kStepTiles];
    alignas(64) float acc[kGroupPanels / kTilePanels * kStepTiles * kTileFloats];
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t first = tokens * s / steps, last = tokens * (s + 1) / steps;
      const Step step{first, last - first, (last - first + kTileTokens - 1) / kTileTokens};
      for (int64_t p = 0; p < panel_count; p += kGroupPanels) {
        const int64_t in_group = smaller(kGroupPanels, panel_count - p);
        for (int64_t c = 0; c < chunks; c += kBlockChunks)
          multiply_block(p, in_group, step, c, static_cast<int>(smaller(kBlockChunks, chunks - c)),
                         gathered, acc);
        store(p, in_group, step, acc);
      }
    }
  }
};

// ---- any number ----

template <typename V, const PanelFormat& f>
inline constexpr int kFusedTokens = f.common ? V::kFusedTokens : 1;

// One token: two panels side by side, two streams of reads. A last panel without a partner is its
// own.
template <typename V, const PanelFormat& f>
void one_token(const uint8_t* panels, int64_t panel_stride, int64_t rows, int64_t chunks,
               const Q8Block* x, float* y) {
  for (int64_t r = 0; r < rows; r += 2 * kPanelRows, panels += 2 * panel_stride) {
    const int64_t left = rows - r - kPanelRows;
    if (left > 0) {
      fused<V, f, 2, 1>(panels, panel_stride, smaller(kPanelRows, left), chunks, x, 1, y + r, 0);
    } else {
      float both[2 * kPanelRows];
      fused<V, f, 2, 1>(panels, 0, kPanelRows, chunks, x, 1, both, 0);
      __builtin_memcpy(y + r, both, static_cast<size_t>(rows - r) * sizeof(float));
    }
  }
}

// A few: panel by panel.
template <typename V, const PanelFormat& f>
void few_tokens(const uint8_t* panels, int64_t panel_stride, int64_t rows, int64_t chunks,
                const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  for (int64_t r = 0; r < rows; r += kPanelRows, panels += panel_stride) {
    unroll<V::kFusedTokens - 1>([&](auto n) GEIST_LAMBDA {
      if (tokens == n + 2)
        fused<V, f, 1, n + 2>(panels, panel_stride, smaller(kPanelRows, rows - r), chunks, x,
                              tokens, y + r, y_stride);
    });
  }
}

template <typename V, const PanelFormat& f>
void multiply_panels(const uint8_t* panels, int64_t rows, int64_t cols, const Q8Block* x,
                     int64_t tokens, float* y, int64_t y_stride) {
  const int64_t chunks = cols / kChunkCols;
  const int64_t stride = chunks / (f.super() ? kChunksPerSuper : 1) * kBlockBytes<f>;
  if (tokens == 1) return one_token<V, f>(panels, stride, rows, chunks, x, y);
  if constexpr (f.common) {
    if (tokens <= V::kFusedTokens)
      return few_tokens<V, f>(panels, stride, rows, chunks, x, tokens, y, y_stride);
  }
  ManyTokens<V, f>{panels, stride, rows, chunks, x, tokens, y, y_stride}.run();
}

template <typename V>
void matmul_panels(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                   const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(panels);
  switch (type) {
#define GEIST_CASE(name)                                                                       \
  case TensorType::name:                                                                       \
    return multiply_panels<V, kPanelFormat<TensorType::name>>(bytes, rows, cols, x, tokens, y, \
                                                              y_stride);
    GEIST_FOR_EACH_PANEL_TYPE(GEIST_CASE)
#undef GEIST_CASE
    default:
      __builtin_trap();
  }
}

#undef GEIST_LAMBDA

}  // namespace geist::kernels
