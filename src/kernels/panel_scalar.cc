#include "kernels/kernel_fill.h"
#include "kernels/panel_scalar_inl.h"

namespace geist::kernels {

void fill_panel_kernels_scalar(Kernels& k) { fill_scalar_panel_kernels<Scalar>(k); }

}  // namespace geist::kernels
