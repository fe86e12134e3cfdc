// A model: immutable weights and the forward pass over a batch of tokens.
//
// The caller owns the schedule and the memory: it hands in tokens of any number of sequences, where
// each is in its sequence, and the pages that hold the keys and values. One arithmetic: the logits
// of a token do not depend on what else is in the batch, on chunking, threads or instruction set.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"
#include "model/config.h"
#include "model/page.h"
#include "model/rope.h"
#include "text/tokenizer.h"

namespace geist::model {

class AdapterSet;

struct BatchToken {
  text::TokenId id;
  Sequence* sequence;
  int32_t pos;  // position in its sequence; tokens of a sequence come in ascending order
  uint64_t visible_labels = ~0ull;       // pages with other labels are not attended to
  bool want_output = true;               // whether a row of output is computed for it
  const AdapterSet* adapters = nullptr;  // lora.h; one set for all tokens of a sequence
};

// Scratch memory of forward passes; reused, grows to the largest batch. One pass at a time.
class Workspace;
struct WorkspaceDeleter {
  void operator()(Workspace*) const;
};
using WorkspacePtr = std::unique_ptr<Workspace, WorkspaceDeleter>;

enum class Output {
  kLogits,  // [vocab] a row
  kHidden,  // [embedding] a row, after the final norm: for heads and embeddings
};

struct LoadOptions {
  const kernels::Kernels* kernels = nullptr;  // null: default_kernels()
  ThreadPool* pool = nullptr;                 // used for packing; null: single-threaded
  bool pack = true;                           // false: multiply straight from the mapped file
  int64_t packed_bytes_max = INT64_MAX;       // pack no more than this, nor than memory is free
  std::function<void(double done)> progress = {};  // of packing, 0..1; may be empty
};

// The architecture's name and numbers of a file, checked; no tensor is looked at.
Result<Config> read_model_config(const gguf::File& file);

class Loader;
class PackedWeights;
class Pass;
class Tape;
struct VectorSource;

class Model {
 public:
  Model();
  virtual ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  // Takes the file over. Errors name the file, the tensor or key, and what is wrong with it.
  static Result<std::unique_ptr<Model>> load(gguf::File file, const LoadOptions& options = {});

  const Config& config() const { return config_; }
  const gguf::File& file() const { return file_; }
  const kernels::Kernels& kernels() const { return *kernels_; }

  // The matrices made of a tensor, by its name in the file: what products multiply by, and what
  // rows are looked up in. "output.weight" is the output head also where it is the embedding table.
  struct TensorUse {
    const kernels::Matrix* product = nullptr;
    const kernels::Matrix* table = nullptr;
    bool is_expert = false;  // one of many in the tensor; not in `product`
  };
  TensorUse find_tensor(std::string_view name) const;

  // Bytes of packed weights; 0 when products read the file's own layout.
  int64_t packed_bytes() const;
  // Bytes of weights that would be packed if there were memory for them.
  int64_t unpacked_bytes() const;

  // Whether these ids and this many positions are within the model's limits: to be asked before
  // forward(), which takes a token or position out of range as a fault of the program. The message
  // names the first offender.
  Status check_tokens(std::span<const text::TokenId> ids, int32_t first_pos = 0) const;

  // Runs all layers for the batch and writes a row for each token with want_output, in order, into
  // out (row-major; row length is config().vocab_size or config().embedding_length). A model that
  // is not causal takes each sequence whole, in one batch. Thread-compatible: const, but a
  // Workspace and the sequences belong to one call. Throws nothing but std::bad_alloc.
  void forward(std::span<const BatchToken> batch, Output output, Workspace& workspace,
               ThreadPool& pool, float* out) const;
  // The same pass, each operation told to the tape (tape.h): the forward half of training.
  void forward(std::span<const BatchToken> batch, Output output, Workspace& workspace,
               ThreadPool& pool, float* out, Tape* tape) const;
  static WorkspacePtr make_workspace();

  // For a trainer, whose F32 tensors lie in memory that it changes between passes: matrices are
  // read from there, vectors are copies. Copies them again, and tells which tensor one comes from.
  void refresh_vectors();
  const gguf::Tensor& tensor_of(const std::vector<float>& vector) const;

 protected:
  // What an architecture defines: the list of its tensors, and its layers (arch_*.cc).
  virtual void load_weights(Loader& loader) = 0;
  virtual void run(Pass& pass) const = 0;

  Config config_;
  // Rotation of all layers, and of sliding-window layers where they differ; set before
  // load_weights().
  RopeFrequencies rope_, rope_local_;

 private:
  gguf::File file_;
  const kernels::Kernels* kernels_ = nullptr;
  std::unique_ptr<PackedWeights> packed_;
  std::vector<VectorSource> vectors_;
  void note_uses(const Loader& loader);
  std::map<std::string, TensorUse, std::less<>> uses_;
};

// One embedding from the rows of a whole sequence (Output::kHidden), pooled as the model's file
// asks (mean where it says nothing) and scaled to length 1. rows: [count, embedding_length], count
// > 0.
void pool_embedding(const Model& model, std::span<const float> rows, float* out);

}  // namespace geist::model
