#include "kernels/grad_fill.h"
#include "kernels/grad_rows_inl.h"
#include "kernels/simd_scalar.h"

namespace geist::kernels {

void fill_grad_rows_scalar(GradKernels& k) { fill_grad_rows<Scalar>(k); }

}  // namespace geist::kernels
