#include "model/import_plan.h"

#include <utility>

namespace geist::model {

size_t PlannedTensor::bytes() const {
  int64_t rows = 1;
  for (size_t i = 1; i < shape.dims.size(); ++i) rows *= shape.dims[i];
  return static_cast<size_t>(kernels::row_bytes(shape.type, shape.dims[0]).value() * rows);
}

uint64_t ImportPlan::bytes() const {
  uint64_t sum = 0;
  for (const PlannedTensor& tensor : tensors) sum += tensor.bytes();
  return sum;
}

gguf::File assemble(ImportPlan plan) {
  struct Owned {
    std::shared_ptr<const void> source;
    std::vector<std::vector<std::byte>> made;
  };
  auto owned = std::make_shared<Owned>();
  owned->source = std::move(plan.source);
  std::vector<gguf::Tensor> tensors;
  for (PlannedTensor& planned : plan.tensors) {
    std::span<const std::byte> data = planned.in_place;
    if (data.empty()) {
      std::vector<std::byte>& bytes = owned->made.emplace_back(planned.bytes());
      planned.fill(bytes);
      data = bytes;  // a vector's bytes stay where they are when the vector moves
    }
    tensors.push_back(
        {std::move(planned.shape.name), planned.shape.type, std::move(planned.shape.dims), data});
  }
  return gguf::File::assemble(std::move(plan.metadata), std::move(tensors), std::move(owned),
                              std::move(plan.name), std::move(plan.read_from));
}

uint32_t file_type_number(kernels::TensorType type) {
  // The numbers of llama.cpp's llama_ftype: all F32, mostly F16, mostly BF16.
  if (type == kernels::TensorType::kF32) return 0;
  return type == kernels::TensorType::kF16 ? 1 : 32;
}

}  // namespace geist::model
