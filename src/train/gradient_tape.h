// Reverse-mode differentiation of a forward pass, block by block: the tape keeps what each block of
// the pass needs to be taken back, then runs the list from its end. It knows blocks, not
// architectures: what is built of embeddings, norms, attention, MLPs and residual additions trains,
// and anything else is refused with a name.
//
// Rows are buffers that the pass reuses, so a gradient belongs to a buffer at a moment: an
// operation that overwrote a buffer ends that buffer's gradient when it is taken back.
//
// With recomputation the tape keeps the input of each layer alone. A layer begins with the norm
// behind an attention and an MLP (or behind the embedding); when the list is taken back as far as
// its end, the pass runs again, of which only that layer's operations are run, and this time all is
// kept.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/grad_kernels.h"
#include "kernels/grad_matmul.h"
#include "model/pass.h"
#include "model/tape.h"
#include "model/workspace.h"
#include "train/attention_backward.h"
#include "train/kept_rows.h"
#include "train/trained_model.h"

namespace geist::train {

using FinalFrom = std::function<void(int64_t offset)>;

class GradientTape final : public model::Tape {
 public:
  GradientTape(const TrainedModel& trained, const ActivationOptions& activations, ThreadPool& pool);

  // Before a pass in this workspace, which is not for others until it is taken back: what the batch
  // is, in rows.
  void begin(std::span<const model::BatchToken> batch, std::span<const SequenceRows> sequences,
             model::Workspace& workspace);
  // After the pass: an error that names an operation which cannot be trained.
  Status status() const;
  // The head of the pass, null when the model has none.
  const model::Linear* head() const { return head_; }
  // Takes the pass back. dhidden: the gradient of the hidden rows (Output::kHidden), [wanted rows,
  // embedding]; it is overwritten. Adds to `gradient`, a block of the weights' layout.
  // `lookup_gradient` takes the gradient of embedding rows that were looked up in a table which is
  // also the head: a chain of its own, of the table's shape, so that neither depends on how a batch
  // was cut.
  // When given, final_from is told from which offset of the gradient on nothing more will be added.
  void backward(float* dhidden, float* gradient, float* lookup_gradient,
                const FinalFrom& final_from = nullptr);

  bool runs() override;
  bool repeats() const override { return repeat_ != nullptr; }
  bool keeps() const override;
  void embed(const model::Matrix& table, model::Rows x) override;
  void add_position_embedding(model::Rows x, const model::Matrix& table) override;
  void norm(model::Rows in, const model::Norm& norm, model::Rows out) override;
  void add(model::Rows x, model::Rows y) override;
  void output(model::Rows x, std::span<const int64_t> wanted, const model::Norm& norm,
              const model::Linear* head) override;
  void attention(model::Rows in, const model::Attention& attention, model::Rows qkv,
                 const float* cos, const float* sin, int64_t pairs, model::Rows heads,
                 model::Rows out) override;
  void mlp(model::Rows in, const model::Mlp& mlp, model::Rows gate, model::Rows up,
           model::Rows out) override;
  void other(const char* operation) override;

 private:
  // What each operation kept of what it read (x) and computed, and the buffers that it names.
  struct Embed {
    const model::Matrix* table;
    model::Rows out;
  };
  struct Positions {
    const model::Matrix* table;
    model::Rows out;
  };
  struct NormOp {
    const model::Norm* norm;
    KeptRows x;
    model::Rows in, out;
  };
  struct Add {
    model::Rows to, from;
  };
  struct Output {
    const model::Norm* norm;
    KeptRows x;
    model::Rows in;
    std::vector<int64_t> wanted;
  };
  struct AttentionOp {
    const model::Attention* attention;
    KeptRows x, qkv, heads;
    model::Rows in, out;
    const float *cos, *sin;
    int64_t pairs;
  };
  struct MlpOp {
    const model::Mlp* mlp;
    KeptRows x, gate, up;
    model::Rows in, out;
  };
  using Operation = std::variant<Embed, Positions, NormOp, Add, Output, AttentionOp, MlpOp>;

  // A layer that runs again: its operations are those from `first` to the next layer's.
  struct Layer {
    size_t first;
    KeptRows input;
  };
  void record(Operation operation);
  // Whether the norm that is told now begins a layer.
  bool begins_layer() const;
  // Of recomputation: refuses operations that read what neither is the layer's input nor was
  // written in the layer.
  void reads(model::Rows rows);
  void writes(model::Rows rows) { written_.insert(rows.data); }
  void run_again(const Layer& layer, size_t end);
  KeptRows keep(model::Rows rows);        // a copy
  KeptRows keep_inner(model::Rows rows);  // of what is inside attention or MLP
  model::Rows rows_of(const KeptRows& kept) { return kept.rows(scratch_, pool_); }

  void back(const Embed& op);
  void back(const Positions& op);
  void back(const NormOp& op);
  void back(const Add& op);
  void back(const Output& op);
  void back(const AttentionOp& op);
  void back(const MlpOp& op);

  // The gradient of a buffer. Dead: nothing after this moment reads the buffer.
  struct Gradient {
    model::Rows rows;
    bool live = false;
  };
  Gradient& gradient_of(model::Rows rows);
  // Marks it live; +0 where it was dead.
  void make_live(Gradient& gradient);
  // Row i of dy belongs to row[i] of x and dx; null: to row i.
  void take_back_norm(const model::Norm& norm, model::Rows x, const int64_t* row, model::Rows dy,
                      Gradient& dx);
  void rotate_back(const AttentionOp& op, model::Rows dqkv);
  model::Rows activate_again(const MlpOp& op, model::Rows gate, model::Rows up);
  // dx (+)= dy w, dw += dy^T x, dbias += dy; what is frozen gets no gradient.
  void take_back_linear(const model::Linear& linear, model::Rows x, const float* dy,
                        int64_t dy_stride, Gradient& dx);
  // Of y += factor * B (A x): dB += dy^T (factor A x); with d = factor * dy B: dA += d^T x,
  // dx += d A.
  void take_back_adapters(const kernels::Matrix& w, model::Rows x, const kernels::LinearGradient& g,
                          Gradient& dx);
  void add_rows_to_table(const model::Matrix& table, model::Rows dx, bool by_position);
  // Where the gradients end that an operation, or one of its layer, adds to.
  int64_t end_of(const Operation& operation) const;
  void refuse(const std::string& what);
  bool trains(const model::Attention& attention);
  template <typename F>
  void for_rows(int64_t count, F&& f) {
    pool_.for_ranges(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) f(t);
    });
  }

  const TrainedModel& trained_;
  const kernels::Kernels& k_;
  const kernels::GradKernels& g_;
  ThreadPool& pool_;
  ActivationOptions options_;
  model::Workspace memory_;           // of the pass: copies of rows
  model::Workspace gradient_memory_;  // of the gradients of buffers
  model::Workspace scratch_;          // of the operation at hand
  model::Workspace* workspace_ = nullptr;
  std::span<const model::BatchToken> batch_;
  std::span<const SequenceRows> sequences_;
  std::vector<Operation> operations_;
  std::vector<Layer> layers_;       // of recomputation
  std::set<const float*> written_;  // buffers, in the layer at hand
  size_t next_ = 0;                 // operation of the pass
  const Layer* repeat_ = nullptr;   // what runs again
  size_t repeat_end_ = 0;
  int64_t kept_ = 0;  // of memory_, behind the first pass
  std::map<const float*, Gradient> gradients_;
  std::vector<kernels::NormStats> stats_;
  std::vector<float> panel_;  // of frozen weights, widened
  kernels::Activations activations_;
  std::string refused_;
  const model::Linear* head_ = nullptr;
  float *dhidden_ = nullptr, *gradient_ = nullptr, *lookup_gradient_ = nullptr;
};

}  // namespace geist::train
