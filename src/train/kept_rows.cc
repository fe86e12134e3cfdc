#include "train/kept_rows.h"

#include "base/check.h"
#include "kernels/block.h"

namespace geist::train {

using kernels::TensorType;
using model::Rows;

KeptRows KeptRows::view(const Rows& rows) {
  return {reinterpret_cast<std::byte*>(rows.data), TensorType::kF32, rows.count, rows.width,
          rows.stride * static_cast<int64_t>(sizeof(float))};
}

KeptRows KeptRows::copy(const Rows& rows, TensorType type, model::Workspace& memory,
                        ThreadPool& pool) {
  const int64_t bytes = *kernels::row_bytes(type, rows.width);
  constexpr int64_t kFloat = sizeof(float);
  auto* to = reinterpret_cast<std::byte*>(memory.take((rows.count * bytes + kFloat - 1) / kFloat));
  pool.for_ranges(rows.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::quantize_row(type, rows.row(t), rows.width, to + t * bytes);
  });
  return {to, type, rows.count, rows.width, bytes};
}

void KeptRows::read(const Rows& to, ThreadPool& pool) const {
  GEIST_CHECK(to.count == count && to.width == width);
  pool.for_ranges(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels::dequantize_row(type, data + t * stride, width, to.row(t));
  });
}

Rows KeptRows::rows(model::Workspace& scratch, ThreadPool& pool) const {
  if (type == TensorType::kF32)
    return {reinterpret_cast<float*>(data), count, width,
            stride / static_cast<int64_t>(sizeof(float))};
  const Rows out{scratch.take(count * width), count, width, width};
  read(out, pool);
  return out;
}

}  // namespace geist::train
