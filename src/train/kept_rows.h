// What a tape keeps of a forward pass until it is taken back: copies of rows, as they are or
// rounded to 16 bits, or the pass's own memory where that stays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/tensor_type.h"
#include "model/pass.h"
#include "model/workspace.h"

namespace geist::train {

struct ActivationOptions {
  // Of a layer only the input is kept and its forward pass runs again when it is taken back: the
  // same bits, for a third more work.
  bool recompute = false;
  // Of what is kept: kF32, kBF16 or kF16. The last two round, so the gradient is another one (the
  // loss is not), though the same on every instruction set and number of threads. Beyond 65504 kF16
  // is infinite.
  kernels::TensorType type = kernels::TensorType::kF32;
};

struct KeptRows {
  std::byte* data = nullptr;  // null: nothing
  kernels::TensorType type = kernels::TensorType::kF32;
  int64_t count = 0, width = 0;
  int64_t stride = 0;  // bytes from row to row

  // As they are; of F32 rows only.
  static KeptRows view(const model::Rows& rows);
  // Copies into `memory`, rounded to the type.
  static KeptRows copy(const model::Rows& rows, kernels::TensorType type, model::Workspace& memory,
                       ThreadPool& pool);
  // Widened into `to`, which has as many rows of this width.
  void read(const model::Rows& to, ThreadPool& pool) const;
  // F32 rows themselves; others widened into `scratch`.
  model::Rows rows(model::Workspace& scratch, ThreadPool& pool) const;
};

}  // namespace geist::train
