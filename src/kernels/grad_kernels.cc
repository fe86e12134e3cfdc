#include "kernels/grad_kernels.h"

#include "kernels/grad_fill.h"

namespace geist::kernels {
namespace {

template <typename MatmulFill, typename RowFill>
GradKernels make(Isa isa, MatmulFill matmul, RowFill rows) {
  GradKernels k{};
  k.isa = isa;
  matmul(k);
  rows(k);
  return k;
}

}  // namespace

const GradKernels* grad_kernels_for(Isa isa) {
  if (kernels_for(isa) == nullptr) return nullptr;  // asks the processor
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512 && isa <= Isa::kAvx512Amx) {  // the others have nothing for floats
    static const GradKernels avx512 =
        make(Isa::kAvx512, fill_grad_matmul_avx512, fill_grad_rows_avx512);
    return &avx512;
  }
  if (isa == Isa::kAvx2) {
    static const GradKernels avx2 = make(isa, fill_grad_matmul_avx2, fill_grad_rows_avx2);
    return &avx2;
  }
  if (isa == Isa::kScalar && kernels_for(Isa::kAvx2) != nullptr) {
    static const GradKernels scalar = make(isa, fill_grad_kernels_scalar_fma, [](GradKernels&) {});
    return &scalar;
  }
#elif defined(__aarch64__)
  if (isa == Isa::kNeon || isa == Isa::kNeonDot) {
    static const GradKernels neon = make(Isa::kNeon, fill_grad_matmul_neon, fill_grad_rows_neon);
    return &neon;
  }
#endif
  static const GradKernels portable =
      make(Isa::kPortable, fill_grad_matmul_scalar, fill_grad_rows_scalar);
  return &portable;
}

}  // namespace geist::kernels
