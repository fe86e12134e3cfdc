// What each instruction set contributes to the table of kernels.h. Each function is defined in a
// file of its own, compiled for its instruction set and called only after kernels.cc has asked the
// processor.
#pragma once

#include "kernels/kernels.h"

namespace geist::kernels {

// All of the scalar kernels, with the fused multiply-add instruction: scalar_fma.cc.
void fill_kernels_scalar_fma(Kernels& k);

// Norms, activations, RoPE, dot: rows_*.cc.
void fill_row_kernels_scalar(Kernels& k);
void fill_row_kernels_avx2(Kernels& k);
void fill_row_kernels_avx512(Kernels& k);
void fill_row_kernels_neon(Kernels& k);

// matmul_float: matmul_float_*.cc.
void fill_float_kernels_scalar(Kernels& k);
void fill_float_kernels_avx2(Kernels& k);
void fill_float_kernels_avx512(Kernels& k);
void fill_float_kernels_neon(Kernels& k);

// attention: attention_*.cc.
void fill_attention_kernels_scalar(Kernels& k);
void fill_attention_kernels_avx2(Kernels& k);
void fill_attention_kernels_avx512(Kernels& k);
void fill_attention_kernels_neon(Kernels& k);

// matmul_panels, pack_panel, quantize_q8: panel_*.cc.
void fill_panel_kernels_scalar(Kernels& k);
void fill_panel_kernels_avx2(Kernels& k);
void fill_panel_kernels_avx512(Kernels& k);
void fill_panel_kernels_avx512vnni(Kernels& k);
void fill_panel_kernels_avx512amx(Kernels& k);
void fill_panel_kernels_neon(Kernels& k);
void fill_panel_kernels_neondot(Kernels& k);

// Kernels::matmul_panels; the matrix unit's leaves few tokens to it.
void matmul_panels_avx512vnni(TensorType type, const std::byte* panels, int64_t rows, int64_t cols,
                              const Q8Block* x, int64_t tokens, float* y, int64_t y_stride);

}  // namespace geist::kernels
