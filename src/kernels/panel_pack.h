// Packing of rows into panels: the same portable code for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor_type.h"

namespace geist::kernels {

// Kernels::pack_panel.
void pack_panel(TensorType type, const std::byte* w, int64_t w_stride, int64_t rows, int64_t cols,
                std::byte* panel);

}  // namespace geist::kernels
