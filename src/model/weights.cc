#include "model/weights.h"

#include <sys/mman.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <set>

#include "base/memory.h"
#include "kernels/block.h"

namespace geist::model {
namespace {

// What stays free after packing: pages of keys and values, activations, the rest of the machine.
constexpr int64_t kMemoryReserve = 256ll << 20;
// Where not all of the weights fit packed, this part of the free memory stays for the file's pages.
constexpr int64_t kUnpackedShare = 8;
constexpr int64_t kPanelAlignment = 64;
constexpr size_t kHugePage = 2u << 20;

std::string dims_text(const std::vector<int64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  return text + "]";
}

// Trailing dimensions of 1 mean nothing; writers differ in whether they keep them.
std::vector<int64_t> trimmed(std::vector<int64_t> dims) {
  while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
  return dims;
}

int64_t aligned(int64_t bytes) {
  return (bytes + kPanelAlignment - 1) / kPanelAlignment * kPanelAlignment;
}

// Where packing finds a matrix's rows: read from its file rather than touched in the mapping, for
// they are used once. What cannot be read is left to the mapping, whose fault ends the program with
// a line. Empty: the matrix is in memory.
kernels::RowSource source_of(const Matrix& matrix, const MappedFile* mapping) {
  if (mapping == nullptr) return {};
  const std::byte* const data = matrix.data;
  const int64_t row_bytes = kernels::row_bytes(matrix.type, matrix.cols).value_or(0);
  return [=](int64_t row, int64_t rows, std::byte* buffer) {
    const std::byte* from = data + row * row_bytes;
    const std::span out(buffer, static_cast<size_t>(rows * row_bytes));
    return mapping->read(static_cast<size_t>(from - mapping->bytes().data()), out) ? buffer : from;
  };
}

}  // namespace

std::string block_name(int layer, const char* what) {
  return "blk." + std::to_string(layer) + "." + what;
}

void Loader::refuse_unused() {
  // Heads that read the hidden states, and tables of rotations, which old files have beside the
  // metadata that say the same.
  constexpr std::string_view kBeside[] = {"cls.", "value.", "rope_"};
  for (const gguf::Tensor& tensor : file_.tensors()) {
    const auto beside = [&](std::string_view prefix) { return tensor.name.starts_with(prefix); };
    if (asked_.contains(&tensor) || tensor.is_of_trainer() ||
        std::any_of(std::begin(kBeside), std::end(kBeside), beside) ||
        tensor.name.find("rot_embd") != std::string::npos)
      continue;
    return fail(errorf(
        "tensor '%.100s' has no place in the %s model of %d layers that the metadata describe; the "
        "file is damaged, or of a variant that is not known here",
        tensor.name.c_str(), config_.architecture.c_str(), config_.block_count));
  }
}

void Loader::fail(Error error) {
  if (error_.message.empty()) error_ = Error{file_.name() + ": " + error.message};
}

const gguf::Tensor* Loader::find(const std::string& name, Need need,
                                 std::initializer_list<int64_t> dims) {
  if (!ok()) return nullptr;
  const gguf::Tensor* tensor = file_.find(name);
  if (tensor == nullptr) {
    if (need == Need::kRequired)
      fail(errorf("tensor '%s' is missing, and architecture '%s' needs it; the file is incomplete",
                  name.c_str(), config_.architecture.c_str()));
    return nullptr;
  }
  asked_.insert(tensor);
  const std::vector<int64_t> expected(dims);
  if (trimmed(tensor->dims) != trimmed(expected)) {
    fail(errorf("tensor '%s' has shape %s, but the metadata asks for %s; the file is damaged",
                name.c_str(), dims_text(tensor->dims).c_str(), dims_text(expected).c_str()));
    return nullptr;
  }
  if (tensor->type == kernels::TensorType::kI32) {
    fail(errorf("tensor '%s' holds integers, but weights are needed; the file is damaged",
                name.c_str()));
    return nullptr;
  }
  return tensor;
}

Matrix Loader::view(const gguf::Tensor& tensor, int64_t first_row, int64_t rows) {
  const int64_t row_bytes = kernels::row_bytes(tensor.type, tensor.columns()).value_or(0);
  return {.type = tensor.type,
          .rows = rows,
          .cols = tensor.columns(),
          .data = tensor.data.data() + first_row * row_bytes,
          .panels = nullptr};
}

void widen(const gguf::Tensor& tensor, Vector& out) {
  out.resize(static_cast<size_t>(tensor.elements()));
  const int64_t row_bytes = kernels::row_bytes(tensor.type, tensor.columns()).value_or(0);
  for (int64_t row = 0; row < tensor.rows(); ++row)
    kernels::dequantize_row(tensor.type, tensor.data.data() + row * row_bytes, tensor.columns(),
                            out.data() + row * tensor.columns());
}

void Loader::numbers(Vector& out, const std::string& name, std::initializer_list<int64_t> dims,
                     Need need) {
  if (const gguf::Tensor* tensor = find(name, need, dims)) widen(*tensor, out);
}

void Loader::vector(Vector& out, const std::string& name, std::initializer_list<int64_t> dims,
                    Need need) {
  const gguf::Tensor* tensor = find(name, need, dims);
  if (tensor == nullptr) return;
  widen(*tensor, out);
  vectors_.push_back({&out, tensor});
}

void Loader::norm(Norm& out, const std::string& base, std::initializer_list<int64_t> dims,
                  Need need) {
  out.kind = config_.norm_kind;
  out.eps = config_.norm_eps;
  vector(out.weight, base + ".weight", dims, need);
  if (out && out.kind == NormKind::kLayer) vector(out.bias, base + ".bias", dims, Need::kOptional);
}

void Loader::matrix(Matrix& out, const std::string& name, int64_t rows, int64_t cols, Need need) {
  const gguf::Tensor* tensor = find(name, need, {cols, rows});
  if (tensor == nullptr) return;
  out = view(*tensor, 0, rows);
  products_.push_back({&out, tensor});
}

void Loader::linear(Linear& out, const std::string& base, int64_t rows, int64_t cols, Need need,
                    Need bias) {
  matrix(out.w, base + ".weight", rows, cols, need);
  if (out) vector(out.bias, base + ".bias", {rows}, bias);
}

void Loader::table(Matrix& out, const std::string& name, int64_t rows, int64_t cols, Need need) {
  const gguf::Tensor* tensor = find(name, need, {cols, rows});
  if (tensor == nullptr) return;
  out = view(*tensor, 0, rows);
  tables_.push_back({&out, tensor});
}

void Loader::output_head(Linear& out, const Matrix& embedding) {
  if (has("output.weight")) return linear(out, "output", embedding.rows, embedding.cols);
  matrix(out.w, "token_embd.weight", embedding.rows, embedding.cols);
}

void Loader::experts(ExpertLinear& out, int layer, const char* role, int64_t rows, int64_t cols) {
  const int64_t count = config_.expert.count;
  const std::string base = block_name(layer, "ffn_") + role;
  out.w.resize(static_cast<size_t>(count));
  if (has(base + "_exps.weight") || !has(base + ".0.weight")) {
    const gguf::Tensor* tensor = find(base + "_exps.weight", Need::kRequired, {cols, rows, count});
    if (tensor == nullptr) return;
    for (int64_t e = 0; e < count; ++e) {
      out.w[static_cast<size_t>(e)] = view(*tensor, e * rows, rows);
      products_.push_back({&out.w[static_cast<size_t>(e)], tensor, true});
    }
    vector(out.bias, base + "_exps.bias", {rows, count}, Need::kOptional);
    return;
  }
  for (int64_t e = 0; e < count; ++e) {
    matrix(out.w[static_cast<size_t>(e)], base + "." + std::to_string(e) + ".weight", rows, cols);
    if (ok()) products_.back().is_expert = true;
  }
}

void PackedWeights::pack(const Loader& loader, const kernels::Kernels& kernels, ThreadPool& pool,
                         int64_t bytes_max, const std::function<void(double)>& progress) {
  const std::vector<Loader::Product>& products = loader.products();
  int64_t total = 0;
  const gguf::File& file = loader.file();
  for (const Loader::Product& p : products) total += aligned(kernels::packed_bytes(*p.matrix));
  const auto available =
      static_cast<int64_t>(std::min<uint64_t>(available_memory_bytes(), INT64_MAX));
  int64_t room = total;
  if (available != 0 && total > available - kMemoryReserve)
    room = available - std::max(kMemoryReserve, available / kUnpackedShare);
  room = std::min(room, bytes_max);

  // Tensors of which all products fit: experts share one.
  std::vector<size_t> chosen;
  int64_t size = 0;
  for (size_t i = 0, end; i < products.size(); i = end) {
    int64_t bytes = 0;
    for (end = i; end < products.size() && products[end].tensor == products[i].tensor; ++end)
      bytes += aligned(kernels::packed_bytes(*products[end].matrix));
    if (bytes == 0 || size + bytes > room) continue;
    size += bytes;
    for (size_t k = i; k < end; ++k) chosen.push_back(k);
  }
  unpacked_bytes_ = total - size;
  if (size == 0) return;

  // Anonymous memory in huge pages where the system grants them: a decode step walks all of it.
  const size_t mapped = (static_cast<size_t>(size) + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    unpacked_bytes_ = total;
    return;
  }
  madvise(memory, mapped, MADV_HUGEPAGE);
  panels_ = {static_cast<std::byte*>(memory), [mapped](std::byte* p) { munmap(p, mapped); }};
  bytes_ = size;

  std::set<const gguf::Tensor*> tables;
  for (const Loader::Product& table : loader.tables()) tables.insert(table.tensor);
  int64_t done = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Loader::Product& product = products[chosen[i]];
    std::byte* const dst = panels_.get() + done;
    kernels::pack_matrix(kernels, pool, *product.matrix, dst,
                         source_of(*product.matrix, file.mapping_of(*product.tensor)));
    product.matrix->panels = dst;
    done += aligned(kernels::packed_bytes(*product.matrix));
    // The pages of a tensor go after its last product. Looked-up rows stay mapped.
    const bool last = i + 1 == chosen.size() || products[chosen[i + 1]].tensor != product.tensor;
    if (last && tables.count(product.tensor) == 0) file.release(*product.tensor);
    if (progress) progress(static_cast<double>(done) / static_cast<double>(size));
  }
}

}  // namespace geist::model
