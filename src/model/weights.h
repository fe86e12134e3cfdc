// Weights of a model: typed views of a file's tensors, each checked for its exact shape before use,
// and the loader that architectures list their tensors with.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"
#include "model/config.h"

namespace geist::model {

using kernels::Matrix;

// A vector of f32 (norm weights, biases, sinks), widened from whatever type the file has. Empty
// when optional and absent.
using Vector = std::vector<float>;
inline const float* data_or_null(const Vector& v) { return v.empty() ? nullptr : v.data(); }

struct VectorSource {
  Vector* vector;
  const gguf::Tensor* tensor;
};
// Widens the whole tensor into a vector of its size.
void widen(const gguf::Tensor& tensor, Vector& out);

// y = w x + bias
struct Linear {
  Matrix w;  // [outputs, inputs]
  Vector bias;
  explicit operator bool() const { return w.data != nullptr; }
  int64_t outputs() const { return w.rows; }
};

struct Norm {
  NormKind kind = NormKind::kRms;
  float eps = 0.0f;
  Vector weight, bias;
  explicit operator bool() const { return !weight.empty(); }
};

// The matrices of one role of all experts of a layer, and their biases as rows of one table.
struct ExpertLinear {
  std::vector<Matrix> w;  // [experts] of [outputs, inputs]
  Vector bias;            // [experts, outputs] or empty
  const float* bias_of(int64_t expert) const {
    return bias.empty() ? nullptr : bias.data() + expert * w.front().rows;
  }
};

enum class Need { kRequired, kOptional };

// Fills weights from a file. The first failure sticks, later calls do nothing, and status() tells:
// so an architecture's list of tensors reads as a list. Destinations must not move afterwards
// (packing and the forward pass refer to them).
class Loader {
 public:
  Loader(const gguf::File& file, const Config& config) : file_(file), config_(config) {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  // A failure if the file has a weight that was never asked for: it is of another model than its
  // metadata say.
  void refuse_unused();

  // `name` is the whole tensor name; dims as in the file, the contiguous one first.
  void vector(Vector& out, const std::string& name, std::initializer_list<int64_t> dims,
              Need need = Need::kRequired);
  // The same for numbers that only loading needs: `out` may go away.
  void numbers(Vector& out, const std::string& name, std::initializer_list<int64_t> dims,
               Need need = Need::kRequired);
  // `base` + ".weight" (and ".bias" where the architecture's norm is a LayerNorm).
  void norm(Norm& out, const std::string& base, std::initializer_list<int64_t> dims,
            Need need = Need::kRequired);
  void matrix(Matrix& out, const std::string& name, int64_t rows, int64_t cols,
              Need need = Need::kRequired);
  void linear(Linear& out, const std::string& base, int64_t rows, int64_t cols,
              Need need = Need::kRequired, Need bias = Need::kOptional);
  // Rows looked up by index (token and position embeddings): stays in the file's layout.
  void table(Matrix& out, const std::string& name, int64_t rows, int64_t cols,
             Need need = Need::kRequired);
  // output.weight, or the embedding table where the file ties them.
  void output_head(Linear& out, const Matrix& embedding);
  // "blk.N.ffn_ROLE_exps.weight" [cols, rows, experts], or "blk.N.ffn_ROLE.E.weight" apiece (older
  // files).
  void experts(ExpertLinear& out, int layer, const char* role, int64_t rows, int64_t cols);

  // Records a failure of the architecture's own.
  void fail(Error error);
  Status status() const { return error_.message.empty() ? Status() : Status(error_); }
  bool ok() const { return error_.message.empty(); }

  const Config& config() const { return config_; }
  const gguf::File& file() const { return file_; }

  // Matrices that products read, with the tensor each comes from.
  struct Product {
    Matrix* matrix;
    const gguf::Tensor* tensor;
    bool is_expert = false;
  };
  const std::vector<Product>& products() const { return products_; }
  // Vectors that were widened, with the tensor each comes from.
  const std::vector<VectorSource>& vectors() const { return vectors_; }
  // Tensors whose rows are looked up in the file.
  const std::vector<Product>& tables() const { return tables_; }

 private:
  const gguf::Tensor* find(const std::string& name, Need need, std::initializer_list<int64_t> dims);
  Matrix view(const gguf::Tensor& tensor, int64_t first_row, int64_t rows);

  const gguf::File& file_;
  const Config& config_;
  Error error_;
  std::vector<Product> products_;
  std::vector<VectorSource> vectors_;
  std::vector<Product> tables_;
  std::set<const gguf::Tensor*> asked_;
};

// "blk.7.attn_q" for (7, "attn_q").
std::string block_name(int layer, const char* what);

// The packed forms of a model's quantised matrices, in one allocation.
class PackedWeights {
 public:
  // Packs the quantised products of the loader, as many as fit into `bytes_max` and the memory that
  // is free now, points the matrices at their panels and gives the file's pages back.
  void pack(const Loader& loader, const kernels::Kernels& kernels, ThreadPool& pool,
            int64_t bytes_max, const std::function<void(double)>& progress);
  int64_t bytes() const { return bytes_; }
  int64_t unpacked_bytes() const { return unpacked_bytes_; }  // what did not fit, packed

 private:
  std::shared_ptr<std::byte> panels_;
  int64_t bytes_ = 0, unpacked_bytes_ = 0;
};

}  // namespace geist::model
