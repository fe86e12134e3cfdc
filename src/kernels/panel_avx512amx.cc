// Many tokens on the matrix unit (AMX, int8): a panel's chunk, decoded, is already its second
// operand, 8 rows of 16 lanes of 4 codes, and 16 gathered tokens are its first. Its sums are exact
// 32-bit integers, so the float steps that follow, and with them the bits, are those of every other
// instruction set.
//
// For 16 x 16 sums over 32 columns the unit takes 16 cycles, storing them 16 more, and the 48
// vector operations of the float steps 28, and none of the three overlaps: twice the speed of VNNI
// at best. With sub-blocks of 16 columns it takes the same for half the work and gains nothing, and
// few tokens are limited by reading weights: both stay with VNNI.
#include "kernels/kernel_fill.h"
#include "kernels/panel_inl.h"
#include "kernels/panel_simd_avx512.h"

namespace geist::kernels {
namespace {

constexpr int64_t kFewTokens = 8;

struct Product {  // canonical codes: the unit multiplies signed bytes
  template <int kMaxCode>
  struct Dot {
    static constexpr bool kSigned = true;
  };
};

#define GEIST_LAMBDA __attribute__((always_inline))

struct PanelAmx : PanelAvx512<Product> {
  static constexpr int kTilePanels = 1, kTileTokens = 16;

  template <int kGroupCols, bool kOffset>
  static void tile(const PanelBlock* w, const TokenBlock<16>& x, int count, bool first,
                   float* out) {
    static_assert(kGroupCols == kChunkCols);
    alignas(64) int32_t sums[2][16][16];  // of this chunk and of the next, under way meanwhile
    const auto multiply = [&](int c) GEIST_LAMBDA {
      _tile_zero(0);
      _tile_loadd(1, x.codes[c], 32);
      _tile_loadd(2, w->codes[c], 64);
      _tile_dpbssd(0, 1, 2);
      _tile_stored(0, sums[c % 2], 64);
    };
    F acc[16];
    unroll<16>([&](auto t) GEIST_LAMBDA { acc[t] = first ? zero() : load(out + t * kPanelRows); });
    asm volatile("" ::: "memory");  // the loads of tiles tell the compiler nothing
    multiply(0);
    for (int c = 0; c < count; ++c) {
      if (c + 1 < count) multiply(c + 1);
      const F scale = load(w->scale[c][0]);
      unroll<16>([&](auto t) GEIST_LAMBDA {
        const F sum = to_float(_mm512_load_si512(sums[c % 2][t]));
        acc[t] = fma(sum, mul(scale, splat(x.scale[c][t])), acc[t]);
        if constexpr (kOffset) acc[t] = fma(load(w->offset[c][0]), splat(x.sum[c][0][t]), acc[t]);
      });
    }
    unroll<16>([&](auto t) GEIST_LAMBDA { store(out + t * kPanelRows, acc[t]); });
  }
};

#undef GEIST_LAMBDA

// The shapes of the three tiles: sums, tokens, weights.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

template <TensorType kType>
void multiply_panels_amx(const std::byte* panels, int64_t rows, int64_t cols, const Q8Block* x,
                         int64_t tokens, float* y, int64_t y_stride) {
  if constexpr (kPanelFormat<kType>.group == kChunkCols) {
    TileShapes shapes;
    shapes.row_bytes[0] = shapes.row_bytes[2] = 64;
    shapes.row_bytes[1] = kChunkCols;
    shapes.rows[0] = shapes.rows[1] = 16;
    shapes.rows[2] = kChunkCols / 4;
    asm volatile("" ::: "memory");
    _tile_loadconfig(&shapes);
    ManyTokens<PanelAmx, kPanelFormat<kType>>{reinterpret_cast<const uint8_t*>(panels),
                                              panel_bytes(kType, cols),
                                              rows,
                                              cols / kChunkCols,
                                              x,
                                              tokens,
                                              y,
                                              y_stride}
        .run();
    _tile_release();  // a thread without tiles costs the system less to switch
  } else {
    matmul_panels_avx512vnni(kType, panels, rows, cols, x, tokens, y, y_stride);
  }
}

void matmul_panels_amx(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                       const Q8Block* x, int64_t tokens, float* y, int64_t y_stride) {
  if (tokens <= kFewTokens)
    return matmul_panels_avx512vnni(type, panels, rows, cols, x, tokens, y, y_stride);
  switch (type) {
#define GEIST_CASE(name) \
  case TensorType::name: \
    return multiply_panels_amx<TensorType::name>(panels, rows, cols, x, tokens, y, y_stride);
    GEIST_FOR_EACH_PANEL_TYPE(GEIST_CASE)
#undef GEIST_CASE
    default:
      __builtin_trap();
  }
}

}  // namespace

void fill_panel_kernels_avx512amx(Kernels& kernels) {
  fill_panel_kernels_avx512vnni(kernels);
  kernels.matmul_panels = matmul_panels_amx;
}

}  // namespace geist::kernels
