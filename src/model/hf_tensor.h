// How a GGUF tensor is made of Hugging Face tensors (internal to this folder). Every change of
// layout between the two is a choice of rows (permuting, splitting, stacking), a transposition, or
// adding one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "gguf/safetensors.h"
#include "model/import_plan.h"

namespace geist::model {

struct TensorRecipe {
  std::string name;
  std::vector<const gguf::SafeTensor*> sources;  // same dtype and shape
  std::vector<int64_t> dims;                     // GGUF's order: dims[0] contiguous
  // Rows are runs of row_length elements in a source. Row r of the result is row .second of source
  // .first; unset: the rows of the only source, in order.
  int64_t row_length = 0;
  std::function<std::pair<size_t, int64_t>(int64_t row)> row_of;
  bool transpose = false;  // of a matrix; excludes row_of
  float add = 0.0f;
  bool keep_f32 = false;  // F32 whatever is asked for
};

// An error when a dtype has no place in a model (integers and bool).
Result<PlannedTensor> plan_tensor(TensorRecipe recipe, MatrixType matrix_type,
                                  const std::string& file);

}  // namespace geist::model
