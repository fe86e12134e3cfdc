#include "model/quantize.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <span>
#include <vector>

#include "base/file.h"
#include "kernels/block.h"

namespace geist::model {
namespace {

using kernels::TensorType;

// Weights converted between two calls of progress: a tenth of a second or so on a slow core.
constexpr int64_t kSlabWeights = 1 << 21;

// Version 2 of the quantised formats: what every GGUF since 2023 has.
constexpr uint32_t kQuantizationVersion = 2;

gguf::Metadata output_metadata(const gguf::File& in, FileType type) {
  gguf::Metadata metadata = in.metadata();
  metadata["general.file_type"] = gguf::Value::u32(static_cast<uint32_t>(type));
  metadata["general.quantization_version"] = gguf::Value::u32(kQuantizationVersion);
  // The result is one file.
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.erase(key);
  return metadata;
}

int64_t count_not_finite(const float* x, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000u;
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    total += (std::bit_cast<uint32_t>(x[i]) & kExponent) == kExponent;
  }
  return total;
}

class Converter {
 public:
  Converter(ThreadPool& pool, const std::function<void(const QuantizeProgress&)>& progress,
            int64_t weights_total)
      : pool_(pool), progress_(progress), weights_total_(weights_total) {}

  // The tensor as `type`; valid until the next call. Bytes of the input when nothing changes.
  std::span<const std::byte> convert(const gguf::Tensor& tensor, TensorType type);
  int64_t not_finite_count() const { return not_finite_count_; }

 private:
  void convert_rows(const gguf::Tensor& tensor, TensorType type, int64_t begin, int64_t end);
  void advance(const gguf::Tensor& tensor, int64_t weights) {
    weights_done_ += weights;
    if (progress_) progress_({weights_done_, weights_total_, tensor.name});
  }

  ThreadPool& pool_;
  const std::function<void(const QuantizeProgress&)>& progress_;
  int64_t weights_total_, weights_done_ = 0;
  std::atomic<int64_t> not_finite_count_{0};
  std::vector<std::byte> bytes_;
};

std::span<const std::byte> Converter::convert(const gguf::Tensor& tensor, TensorType type) {
  if (type == tensor.type) {
    advance(tensor, tensor.elements());
    return tensor.data;
  }
  // The writer has checked the shapes: no product here can overflow.
  const int64_t rows = tensor.rows(), cols = tensor.columns();
  bytes_.resize(static_cast<size_t>(*kernels::row_bytes(type, cols) * rows));
  const int64_t slab = std::max<int64_t>(1, kSlabWeights / cols);
  for (int64_t begin = 0; begin < rows; begin += slab) {
    const int64_t end = std::min(rows, begin + slab);
    pool_.for_ranges(end - begin, 1, [&](int64_t from, int64_t to) {
      convert_rows(tensor, type, begin + from, begin + to);
    });
    advance(tensor, (end - begin) * cols);
  }
  return bytes_;
}

void Converter::convert_rows(const gguf::Tensor& tensor, TensorType type, int64_t begin,
                             int64_t end) {
  const int64_t cols = tensor.columns();
  const int64_t in_bytes = *kernels::row_bytes(tensor.type, cols);
  const int64_t out_bytes = *kernels::row_bytes(type, cols);
  std::vector<float> row(static_cast<size_t>(cols));
  int64_t not_finite = 0;
  for (int64_t r = begin; r < end; ++r) {
    kernels::dequantize_row(tensor.type, tensor.data.data() + r * in_bytes, cols, row.data());
    if (kernels::is_quantized(type)) not_finite += count_not_finite(row.data(), cols);
    kernels::quantize_row(type, row.data(), cols, bytes_.data() + r * out_bytes);
  }
  not_finite_count_ += not_finite;
}

}  // namespace

Result<QuantizeReport> quantize_file(const gguf::File& in, const std::string& out_path,
                                     FileType type, ThreadPool& pool,
                                     const std::function<void(const QuantizeProgress&)>& progress) {
  GEIST_TRY(refuse_overwriting(out_path, in.sources()));
  GEIST_ASSIGN(const auto choices, choose_tensor_types(in.metadata(), in.tensors(), type));
  QuantizeReport report;
  std::vector<gguf::TensorToWrite> plan;
  for (size_t i = 0; i < choices.size(); ++i) {
    const gguf::Tensor& tensor = in.tensors()[i];
    plan.push_back({tensor.name, choices[i].type, tensor.dims});
    report.weights += tensor.elements();
    report.fallback_count += choices[i].fallback;
    ++report.types[choices[i].type];
  }
  GEIST_ASSIGN(auto writer, gguf::Writer::create(out_path, output_metadata(in, type), plan));
  Converter converter(pool, progress, report.weights);
  for (size_t i = 0; i < choices.size(); ++i) {
    const gguf::Tensor& tensor = in.tensors()[i];
    const auto bytes = converter.convert(tensor, choices[i].type);
    GEIST_TRY(writer.write_tensor(bytes));
    in.release(tensor);
    report.bytes_in += tensor.data.size();
    report.bytes_out += bytes.size();
  }
  GEIST_TRY(writer.commit());
  report.not_finite_count = converter.not_finite_count();
  return report;
}

}  // namespace geist::model
