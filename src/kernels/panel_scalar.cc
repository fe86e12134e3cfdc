// The reference of the product on panels: plain loops in the order of docs/numerics.md, on any
// processor. It reads a panel's bytes by the layout of panel.h as data, with none of the code of
// the vector variants.
#include <cstring>

#include "base/check.h"
#include "kernels/block.h"
#include "kernels/kernel_fill.h"
#include "kernels/panel.h"
#include "kernels/panel_pack.h"
#include "kernels/quantize_q8.h"

namespace geist::kernels {
namespace {

// One chunk of 32 columns of a panel, decoded.
struct Chunk {
  int8_t bias_free[kPanelRows][kChunkCols];  // NOLINT: filled before use
  float scale[2][kPanelRows], offset[2][kPanelRows];
};

int stored_code(const PanelFormat& f, const uint8_t* chunk, int r, int k) {
  const int g = k / 4;
  const uint8_t* low = chunk + 4 * r + k % 4;
  const uint8_t* high = low + f.low_bytes();
  int code = 0;
  if (f.low_bits == 8) code = low[64 * g];
  if (f.low_bits == 4) code = (low[64 * (g % 4)] >> (4 * (g / 4))) & 15;
  if (f.low_bits == 2) code = (low[64 * (g % 2)] >> (2 * (g / 2))) & 3;
  if (f.high_bits == 1) code |= ((high[0] >> g) & 1) << f.low_bits;
  if (f.high_bits == 2) code |= ((high[64 * (g % 2)] >> (2 * (g / 2))) & 3) << f.low_bits;
  return code;
}

float f16_at(const uint8_t* p, int r) {
  uint16_t bits;
  std::memcpy(&bits, p + 2 * r, 2);
  return f16_to_f32(bits);
}

void decode_scales(const PanelFormat& f, const uint8_t* header, const uint8_t* p, Chunk& out) {
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
        if (f.offset) out.offset[h][r] = -(dmin * static_cast<float>(static_cast<int8_t>(at[16])));
      }
    }
  }
}

void decode_chunk(const PanelFormat& f, const uint8_t* header, const uint8_t* chunk, Chunk& out) {
  for (int r = 0; r < kPanelRows; ++r) {
    for (int k = 0; k < kChunkCols; ++k) {
      const int code = stored_code(f, chunk, r, k);
      out.bias_free[r][k] = static_cast<int8_t>((f.has_lut ? f.lut[code] : code) - f.bias);
    }
  }
  decode_scales(f, header, chunk + f.low_bytes() + f.high_bytes(), out);
}

float add_chunk(const PanelFormat& f, const Chunk& w, int r, const Q8Block& x, float acc) {
  for (int h = 0; h < 32 / f.group; ++h) {
    int32_t isum = 0;
    for (int k = h * f.group; k < (h + 1) * f.group; ++k) isum += w.bias_free[r][k] * x.codes[k];
    acc = __builtin_fmaf(static_cast<float>(isum), w.scale[h][r] * x.scale, acc);
    if (f.offset) acc = __builtin_fmaf(w.offset[h][r], x.sum[f.group == 32 ? 2 : h], acc);
  }
  return acc;
}

void multiply_panel(const PanelFormat& f, const uint8_t* panel, int64_t rows, int64_t cols,
                    const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) y[t * y_stride + r] = 0;
  const uint8_t* header = panel;
  Chunk w;
  for (int64_t c = 0; c < cols / kChunkCols; ++c) {
    if (f.super() && c % kChunksPerSuper == 0) {
      header = panel;
      panel += f.header_bytes();
    }
    decode_chunk(f, header, panel, w);
    panel += f.chunk_bytes();
    for (int64_t t = 0; t < tokens; ++t) {
      float* row = y + t * y_stride;
      for (int64_t r = 0; r < rows; ++r)
        row[r] = add_chunk(f, w, static_cast<int>(r), x[q8_index(tokens, t, c)], row[r]);
    }
  }
}

void matmul_panels(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                   const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  const PanelFormat& format = panel_format(type);
  GEIST_CHECK(format.low_bits != 0);
  const int64_t bytes = panel_bytes(type, cols);
  const uint8_t* panel = reinterpret_cast<const uint8_t*>(panels);
  for (int64_t r = 0; r < rows; r += kPanelRows, panel += bytes) {
    const int64_t count = rows - r < kPanelRows ? rows - r : kPanelRows;
    multiply_panel(format, panel, count, cols, x, tokens, y + r, y_stride);
  }
}

}  // namespace

void fill_panel_kernels_scalar(Kernels& kernels) {
  kernels.matmul_panels = matmul_panels;
  kernels.pack_panel = pack_panel;
  kernels.quantize_q8 = quantize_q8_scalar;
}

}  // namespace geist::kernels
