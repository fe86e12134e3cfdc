#include "train/trained_model.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/check.h"
#include "base/checked.h"
#include "base/hash.h"
#include "base/rng.h"
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
    if (tensor.is_of_trainer()) continue;  // trained `from` a checkpoint
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

// "attn_q" of "blk.0.attn_q.weight"; empty for anything else.
std::string target_of(const std::string& tensor) {
  const size_t begin = tensor.starts_with("blk.") ? tensor.find('.', 4) : std::string::npos;
  if (begin == std::string::npos || !tensor.ends_with(".weight")) return "";
  return tensor.substr(begin + 1, tensor.size() - begin - 1 - std::strlen(".weight"));
}

// Places A and B of every matrix that the adapter is to have.
Result<int64_t> lay_out(const model::Model& model, const LoraOptions& options,
                        std::vector<Parameter>* parameters) {
  int64_t size = 0;
  std::set<std::string> known, found;
  for (const gguf::Tensor& tensor : model.file().tensors()) {
    const std::string target = target_of(tensor.name);
    const kernels::Matrix* w = model.find_tensor(tensor.name).product;
    if (target.empty() || w == nullptr) continue;
    known.insert(target);
    if (std::find(options.targets.begin(), options.targets.end(), target) == options.targets.end())
      continue;
    found.insert(target);
    for (const auto& [suffix, dims] : {std::pair{".lora_a", std::vector{w->cols, options.rank}},
                                       std::pair{".lora_b", std::vector{options.rank, w->rows}}}) {
      const auto count = checked_mul<int64_t>(dims[0], dims[1]);
      const auto end = count ? checked_add(size, aligned(*count)) : std::nullopt;
      if (!end) return errorf("an adapter of rank %lld is too large", (long long)options.rank);
      parameters->push_back({tensor.name + suffix, dims, size, *count});
      size = *end;
    }
  }
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  for (const std::string& target : options.targets)
    if (found.count(target) == 0)
      return errorf("%s: no layer has a matrix '%.60s' that an adapter could change; there are %s",
                    model.file().name().c_str(), target.c_str(), list.c_str());
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

void FloatBlock::drop(int64_t begin, int64_t end) {
  if (begin >= end) return;
  std::memset(data() + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(data() + begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(data() + end) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void FloatBlock::clear() { std::memset(data(), 0, static_cast<size_t>(size_) * sizeof(float)); }

Result<TrainedModel> TrainedModel::make(const gguf::File& file, const kernels::Kernels* kernels) {
  TrainedModel trained;
  GEIST_ASSIGN(const int64_t size, lay_out(file, &trained.parameters_));
  GEIST_ASSIGN(trained.weights_, FloatBlock::make(size));
  for (const Parameter& p : trained.parameters_) {
    const gguf::Tensor& source = *file.find(p.name);
    float* to = trained.weights_.data() + p.offset;
    const int64_t row_bytes = kernels::row_bytes(source.type, source.columns()).value_or(0);
    for (int64_t row = 0; row < source.rows(); ++row)
      kernels::dequantize_row(source.type, source.data.data() + row * row_bytes, source.columns(),
                              to + row * source.columns());
  }
  trained.metadata_ = file.metadata();
  std::erase_if(trained.metadata_,
                [](const auto& entry) { return entry.first.starts_with("geist.train."); });
  trained.metadata_["general.file_type"] = gguf::Value::u32(0);  // all F32
  GEIST_ASSIGN(trained.model_,
               model::Model::load(trained.as_file(file.name()), {.kernels = kernels}));
  return trained;
}

Result<TrainedModel> TrainedModel::make_adapter(gguf::File file, const LoraOptions& options,
                                                uint64_t seed, const kernels::Kernels* kernels) {
  TrainedModel trained;
  GEIST_ASSIGN(trained.model_, model::Model::load(std::move(file), {.kernels = kernels}));
  GEIST_ASSIGN(const int64_t size, lay_out(*trained.model_, options, &trained.parameters_));
  GEIST_ASSIGN(trained.weights_, FloatBlock::make(size));
  for (const Parameter& p : trained.parameters_) {
    if (!p.name.ends_with(".lora_a")) continue;
    RandomStream random(seed, p.name);
    const double bound = 1.0 / std::sqrt(static_cast<double>(p.dims[0]));
    float* a = trained.weights_.data() + p.offset;
    for (int64_t i = 0; i < p.count; ++i)
      a[i] = static_cast<float>((2 * random.next_double() - 1) * bound);
  }
  trained.metadata_ = model::lora_metadata(trained.model_->config().architecture,
                                           static_cast<float>(options.alpha));
  GEIST_ASSIGN(auto adapter, model::LoraAdapter::load(trained.as_file("the adapter in training"),
                                                      *trained.model_));
  trained.adapters_ =
      std::make_unique<const model::AdapterSet>(std::vector{model::AdapterSet::Member{adapter}});
  return trained;
}

gguf::File TrainedModel::as_file(const std::string& name) const {
  std::vector<gguf::Tensor> tensors;
  for (const Parameter& p : parameters_)
    tensors.push_back(
        {p.name, kernels::TensorType::kF32, p.dims,
         std::as_bytes(std::span(weights_.data() + p.offset, static_cast<size_t>(p.count)))});
  return gguf::File::assemble(metadata_, std::move(tensors), std::make_shared<FloatBlock>(weights_),
                              name);
}

int64_t TrainedModel::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& p : parameters_) count += p.count;
  return count;
}

int64_t TrainedModel::place_of(const void* data) const {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const auto begin = reinterpret_cast<uintptr_t>(weights_.data());
  const bool ours = address >= begin && address - begin < weights_.bytes().size();
  GEIST_CHECK(ours || adapters_ != nullptr);
  return ours ? static_cast<int64_t>((address - begin) / sizeof(float)) : kFrozen;
}

int64_t TrainedModel::offset_of(const kernels::Matrix& matrix) const {
  return place_of(matrix.data);
}

int64_t TrainedModel::offset_of(const std::vector<float>& vector) const {
  return place_of(model_->tensor_of(vector).data.data());
}

int64_t TrainedModel::end_of_layer(int64_t offset) const {
  const auto layer = [](const Parameter& p) {
    return p.name.substr(0, p.name.starts_with("blk.") ? p.name.find('.', 4) + 1 : p.name.size());
  };
  for (const Parameter& p : parameters_) {
    if (p.offset != offset) continue;
    int64_t end = 0;
    for (const Parameter& other : parameters_)
      if (layer(other) == layer(p)) end = std::max(end, other.offset + other.count);
    return end;
  }
  return weights_.size();
}

std::string TrainedModel::hash() const {
  Sha256 hash;
  for (const Parameter& p : parameters_) {
    hash.update(std::as_bytes(std::span(p.name.data(), p.name.size() + 1)));
    hash.update(std::as_bytes(std::span(weights_.data() + p.offset, static_cast<size_t>(p.count))));
  }
  return to_hex(hash.finish());
}

Status TrainedModel::save(const std::string& path, const FloatBlock& weights,
                          std::string_view without) const {
  GEIST_CHECK(weights.size() == weights_.size());
  std::vector<gguf::TensorToWrite> list;
  for (const Parameter& p : parameters_)
    if (p.name != without) list.push_back({p.name, kernels::TensorType::kF32, p.dims});
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, metadata(), std::move(list)));
  for (const Parameter& p : parameters_)
    if (p.name != without)
      GEIST_TRY(writer.write_tensor(
          std::as_bytes(std::span(weights.data() + p.offset, static_cast<size_t>(p.count)))));
  return writer.commit();
}

}  // namespace geist::train
