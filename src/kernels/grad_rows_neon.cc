#include "kernels/grad_fill.h"
#include "kernels/grad_rows_inl.h"
#include "kernels/simd_neon.h"

namespace geist::kernels {

void fill_grad_rows_neon(GradKernels& k) { fill_grad_rows<Neon>(k); }

}  // namespace geist::kernels
