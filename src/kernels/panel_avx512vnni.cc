#include "kernels/kernel_fill.h"

namespace geist::kernels {

void fill_panel_kernels_avx512vnni(Kernels& kernels) { fill_panel_kernels_scalar(kernels); }

}  // namespace geist::kernels
