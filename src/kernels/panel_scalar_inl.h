// The reference of the product on panels: plain loops in the order of docs/numerics.md, for any
// processor. It reads a panel's bytes by the layout of panel.h as data, with none of the code of
// the vector variants. S is Scalar or ScalarFma and keeps the two compiled forms apart. Included
// only by panel_scalar.cc and scalar_fma.cc.
#pragma once

#include "kernels/kernels.h"
#include "kernels/panel.h"
#include "kernels/panel_pack.h"
#include "kernels/quantize_q8.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

template <class S>
struct ScalarPanels {
  // One chunk of 32 columns of a panel, decoded: codes by column, so that 16 rows stand side by
  // side.
  struct Chunk {
    int8_t codes[kChunkCols][kPanelRows];
    float scale[2][kPanelRows], offset[2][kPanelRows];
  };

  // The 64 stored codes of group g, 4 columns of 16 rows, in the order of their bytes.
  template <const PanelFormat& f>
  static GEIST_INLINE void stored_codes(const uint8_t* chunk, int g, uint8_t* out) {
    constexpr int kLowVectors = f.low_bits, kHighVectors = f.high_bits;
    const uint8_t* low = chunk + 64 * (g % kLowVectors);
    const int shift = f.low_bits * (g / kLowVectors);
    for (int i = 0; i < 64; ++i)
      out[i] = static_cast<uint8_t>((low[i] >> shift) & ((1 << f.low_bits) - 1));
    if constexpr (kHighVectors > 0) {
      const uint8_t* high = chunk + f.low_bytes() + 64 * (g % kHighVectors);
      const int high_shift = f.high_bits * (g / kHighVectors);
      for (int i = 0; i < 64; ++i)
        out[i] = static_cast<uint8_t>(out[i] | ((high[i] >> high_shift) & ((1 << f.high_bits) - 1))
                                                   << f.low_bits);
    }
  }

  static GEIST_INLINE float f16_at(const uint8_t* p, int r) {
    uint16_t bits;
    __builtin_memcpy(&bits, p + 2 * r, 2);
    return widen_f16(bits);
  }

  template <const PanelFormat& f>
  static GEIST_INLINE void decode_scales(const uint8_t* header, const uint8_t* p, Chunk& out) {
    for (int r = 0; r < kPanelRows; ++r) {
      if (!f.super()) {
        out.scale[0][r] = f16_at(p, r);
        out.offset[0][r] = f.offset ? f16_at(p + 32, r) : 0;
        continue;
      }
      const float d = f16_at(header, r) * f.d_factor;
      const float dmin = f.offset ? f16_at(header + 32, r) : 0;
      for (int h = 0; h < 32 / f.group; ++h) {
        if (f.scales == PanelScales::kNibbles) {
          const int both = p[16 * h + r];
          out.scale[h][r] = d * static_cast<float>(both & 15);
          out.offset[h][r] = -(dmin * static_cast<float>(both >> 4));
        } else {
          const uint8_t* at = p + h * (f.offset ? 32 : 16) + r;
          out.scale[h][r] = d * static_cast<float>(static_cast<int8_t>(at[0]));
          if (f.offset)
            out.offset[h][r] = -(dmin * static_cast<float>(static_cast<int8_t>(at[16])));
        }
      }
    }
  }

  template <const PanelFormat& f>
  static GEIST_INLINE void decode_chunk(const uint8_t* header, const uint8_t* chunk, Chunk& out) {
    for (int g = 0; g < kChunkCols / 4; ++g) {
      uint8_t stored[4 * kPanelRows];
      stored_codes<f>(chunk, g, stored);
      for (int k = 0; k < 4; ++k) {
        for (int r = 0; r < kPanelRows; ++r) {
          const int code = stored[4 * r + k];
          out.codes[4 * g + k][r] = static_cast<int8_t>((f.has_lut ? f.lut[code] : code) - f.bias);
        }
      }
    }
    decode_scales<f>(header, chunk + f.low_bytes() + f.high_bytes(), out);
  }

  // acc[r] for the 16 rows of a panel: one block of one token.
  template <const PanelFormat& f>
  static GEIST_INLINE void add_chunk(const Chunk& w, const Q8Block& x, float* acc) {
    for (int h = 0; h < 32 / f.group; ++h) {
      int32_t isum[kPanelRows] = {};
      for (int k = h * f.group; k < (h + 1) * f.group; ++k) {
        const int32_t code = x.codes[k];
        for (int r = 0; r < kPanelRows; ++r) isum[r] += w.codes[k][r] * code;
      }
      const float sum = x.sum[f.group == 32 ? 2 : h];
      for (int r = 0; r < kPanelRows; ++r) {
        acc[r] = OneLane::fma(static_cast<float>(isum[r]), w.scale[h][r] * x.scale, acc[r]);
        if (f.offset) acc[r] = OneLane::fma(w.offset[h][r], sum, acc[r]);
      }
    }
  }

  template <const PanelFormat& f>
  static void multiply_panel(const uint8_t* panel, int64_t rows, int64_t cols, const Q8Block* x,
                             int64_t tokens, float* y, int64_t y_stride) {
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = 0; r < rows; ++r) y[t * y_stride + r] = 0;
    const uint8_t* header = panel;
    Chunk w;
    for (int64_t c = 0; c < cols / kChunkCols; ++c) {
      if (f.super() && c % kChunksPerSuper == 0) {
        header = panel;
        panel += f.header_bytes();
      }
      decode_chunk<f>(header, panel, w);
      panel += f.chunk_bytes();
      for (int64_t t = 0; t < tokens; ++t) {
        float acc[kPanelRows] = {};
        const size_t bytes = static_cast<size_t>(rows) * sizeof(float);
        __builtin_memcpy(acc, y + t * y_stride, bytes);
        add_chunk<f>(w, x[q8_index(tokens, t, c)], acc);
        __builtin_memcpy(y + t * y_stride, acc, bytes);
      }
    }
  }

  template <const PanelFormat& f>
  static void multiply(const uint8_t* panel, int64_t panel_stride, int64_t rows, int64_t cols,
                       const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
    for (int64_t r = 0; r < rows; r += kPanelRows, panel += panel_stride) {
      const int64_t count = rows - r < kPanelRows ? rows - r : kPanelRows;
      multiply_panel<f>(panel, count, cols, x, tokens, y + r, y_stride);
    }
  }

  static void matmul_panels(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                            const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(panels);
    const int64_t stride = panel_bytes(type, cols);
    switch (type) {
#define GEIST_CASE(name)                                                                     \
  case TensorType::name:                                                                     \
    return multiply<kPanelFormat<TensorType::name>>(bytes, stride, rows, cols, x, tokens, y, \
                                                    y_stride);
      GEIST_FOR_EACH_PANEL_TYPE(GEIST_CASE)
#undef GEIST_CASE
      default:
        __builtin_trap();
    }
  }
};

template <class S>
void fill_scalar_panel_kernels(Kernels& kernels) {
  kernels.matmul_panels = ScalarPanels<S>::matmul_panels;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_scalar;
}

}  // namespace geist::kernels
