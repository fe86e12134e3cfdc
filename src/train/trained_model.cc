#include "train/trained_model.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/hash.h"
#include "kernels/block.h"

namespace geist::train {
namespace {

constexpr int64_t kAlignFloats = 16;
constexpr size_t kHugePage = 2u << 20;

int64_t aligned(int64_t count) { return (count + kAlignFloats - 1) / kAlignFloats * kAlignFloats; }

// Places every tensor; the block's size comes back.
Result<int64_t> lay_out(const gguf::File& file, std::vector<Parameter>* parameters) {
  int64_t size = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (tensor.type == kernels::TensorType::kI32)
      return errorf("%s: tensor '%s' holds integers, which cannot be trained", file.name().c_str(),
                    tensor.name.c_str());
    std::vector<int64_t> dims = tensor.dims;
    while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
    parameters->push_back({tensor.name, std::move(dims), size, tensor.elements()});
    const auto end = checked_add(size, aligned(tensor.elements()));
    if (!end) return errorf("%s: too large to train", file.name().c_str());
    size = *end;
  }
  return size;
}

}  // namespace

Result<FloatBlock> FloatBlock::make(int64_t count) {
  const auto bytes = checked_mul<int64_t>(count, sizeof(float));
  if (!bytes || count <= 0) return errorf("%lld weights are not a size", (long long)count);
  const size_t size = (static_cast<size_t>(*bytes) + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return errorf("not enough memory for %zu MB of weights or gradients", size >> 20);
  madvise(memory, size, MADV_HUGEPAGE);
  FloatBlock block;
  block.memory_ = {static_cast<float*>(memory), [size](float* p) { munmap(p, size); }};
  block.size_ = count;
  return block;
}

void FloatBlock::clear() { std::memset(data(), 0, static_cast<size_t>(size_) * sizeof(float)); }

Result<TrainedModel> TrainedModel::make(const gguf::File& file, const kernels::Kernels* kernels) {
  TrainedModel trained;
  GEIST_ASSIGN(const int64_t size, lay_out(file, &trained.parameters_));
  GEIST_ASSIGN(trained.weights_, FloatBlock::make(size));
  std::vector<gguf::Tensor> tensors;
  for (size_t i = 0; i < trained.parameters_.size(); ++i) {
    const Parameter& p = trained.parameters_[i];
    const gguf::Tensor& source = file.tensors()[i];
    float* to = trained.weights_.data() + p.offset;
    const int64_t row_bytes = kernels::row_bytes(source.type, source.columns()).value_or(0);
    for (int64_t row = 0; row < source.rows(); ++row)
      kernels::dequantize_row(source.type, source.data.data() + row * row_bytes, source.columns(),
                              to + row * source.columns());
    tensors.push_back({p.name, kernels::TensorType::kF32, p.dims,
                       std::as_bytes(std::span(to, static_cast<size_t>(p.count)))});
  }
  gguf::Metadata metadata = file.metadata();
  metadata["general.file_type"] = gguf::Value::u32(0);  // all F32
  auto owned = std::make_shared<FloatBlock>(trained.weights_);
  gguf::File ours =
      gguf::File::assemble(std::move(metadata), std::move(tensors), owned, file.name());
  GEIST_ASSIGN(trained.model_, model::Model::load(std::move(ours), {.kernels = kernels}));
  return trained;
}

int64_t TrainedModel::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& p : parameters_) count += p.count;
  return count;
}

int64_t TrainedModel::offset_of(const kernels::Matrix& matrix) const {
  const int64_t offset = reinterpret_cast<const float*>(matrix.data) - weights_.data();
  GEIST_CHECK(matrix.type == kernels::TensorType::kF32 && offset >= 0 && offset < weights_.size());
  return offset;
}

int64_t TrainedModel::offset_of(const std::vector<float>& vector) const {
  const gguf::Tensor& tensor = model_->tensor_of(vector);
  return reinterpret_cast<const float*>(tensor.data.data()) - weights_.data();
}

std::string TrainedModel::hash() const {
  Sha256 hash;
  for (const Parameter& p : parameters_) {
    hash.update(std::as_bytes(std::span(p.name.data(), p.name.size() + 1)));
    hash.update(std::as_bytes(std::span(weights_.data() + p.offset, static_cast<size_t>(p.count))));
  }
  return to_hex(hash.finish());
}

Status TrainedModel::save(const std::string& path, const FloatBlock& weights) const {
  GEIST_CHECK(weights.size() == weights_.size());
  std::vector<gguf::TensorToWrite> list;
  for (const Parameter& p : parameters_)
    list.push_back({p.name, kernels::TensorType::kF32, p.dims});
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, metadata(), std::move(list)));
  for (const Parameter& p : parameters_)
    GEIST_TRY(writer.write_tensor(
        std::as_bytes(std::span(weights.data() + p.offset, static_cast<size_t>(p.count)))));
  return writer.commit();
}

}  // namespace geist::train
