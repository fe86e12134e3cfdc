// A model in another layout, seen as the GGUF file that it is to become: metadata, and for each
// tensor its name, type and shape and how to make its bytes. Nothing is read or converted before it
// is asked for, so that a converter streams one tensor at a time.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "kernels/tensor_type.h"

namespace geist::model {

struct PlannedTensor {
  gguf::TensorToWrite shape;
  // The bytes as they lie in the source, where they already are what they are to be; empty
  // otherwise.
  std::span<const std::byte> in_place;
  // Writes the bytes; `out` has exactly their number.
  std::function<void(std::span<std::byte> out)> fill;

  size_t bytes() const;
};

struct ImportPlan {
  std::string name;
  gguf::Metadata metadata;
  std::vector<PlannedTensor> tensors;  // of unique names
  std::shared_ptr<const void> source;  // keeps the mapped files
  std::vector<std::string> read_from;  // the files and folders that were and will be read

  uint64_t bytes() const;
};

// What matrices become: their own type when nothing is asked for. Vectors (norms, biases) are
// always F32.
using MatrixType = std::optional<kernels::TensorType>;  // F32, F16 or BF16

// The plan as a File in memory: tensors that need no change stay in the mapped source.
gguf::File assemble(ImportPlan plan);

// general.file_type for a file whose matrices are of this type.
uint32_t file_type_number(kernels::TensorType type);

}  // namespace geist::model
