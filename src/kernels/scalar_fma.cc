// All scalar kernels again, from the same source, compiled with the fused multiply-add instruction.
// fma rounds once, whoever computes it, so the bits are those of the portable copy; only the time
// differs, and with it how much of the scalar set tests can afford to run.
#include "kernels/attention_inl.h"
#include "kernels/grad_fill.h"
#include "kernels/grad_matmul_inl.h"
#include "kernels/grad_rows_inl.h"
#include "kernels/kernel_fill.h"
#include "kernels/matmul_float_inl.h"
#include "kernels/panel_scalar_inl.h"
#include "kernels/rows_inl.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_kernels_scalar_fma(Kernels& k) {
  fill_row_kernels<ScalarFma>(k);
  fill_float_kernels<ScalarFma>(k);
  fill_attention_kernels<ScalarFma>(k);
  fill_scalar_panel_kernels<ScalarFma>(k);
}

void fill_grad_kernels_scalar_fma(GradKernels& k) {
  fill_grad_matmul<ScalarFma, 2, 1>(k);
  fill_grad_rows<ScalarFma>(k);
}

}  // namespace geist::kernels
