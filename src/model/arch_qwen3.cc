// Qwen 3 (arXiv:2505.09388), dense and mixture of experts: an RMSNorm over each head's query and
// key before rotation, no biases. The weights of the chosen experts are divided by their sum.
#include "model/pass.h"
#include "model/registry.h"

namespace geist::model {
namespace {

class Qwen3 final : public Model {
 public:
  explicit Qwen3(bool mixture) : mixture_(mixture) {}

 private:
  struct Layer {
    Norm attn_norm, ffn_norm;
    Attention attention;
    Mlp mlp;
    Moe moe;
  };

  void load_weights(Loader& w) override {
    const int64_t n = config_.embedding_length;
    w.table(embedding_, "token_embd.weight", config_.vocab_size, n);
    w.norm(output_norm_, "output_norm", {n});
    w.output_head(output_, embedding_);
    layers_.resize(static_cast<size_t>(config_.block_count));
    for (int i = 0; i < config_.block_count; ++i) {
      Layer& l = layers_[static_cast<size_t>(i)];
      w.norm(l.attn_norm, block_name(i, "attn_norm"), {n});
      load_attention(w, l.attention, i);
      load_head_norms(w, l.attention, i);
      l.attention.rope = &rope_;
      w.norm(l.ffn_norm, block_name(i, "ffn_norm"), {n});
      if (mixture_) {
        load_moe(w, l.moe, i, expert_feed_forward(config_));
        l.moe.normalize = true;
      } else {
        load_gated_mlp(w, l.mlp, i);
      }
    }
  }

  void run(Pass& p) const override {
    Rows x = p.embed(embedding_);
    Rows h = p.rows(), y = p.rows();
    for (const Layer& l : layers_) {
      p.norm(x, l.attn_norm, h);
      p.attention(h, l.attention, y, x);
      p.add(x, y);
      p.norm(x, l.ffn_norm, h);
      mixture_ ? p.moe(h, l.moe, y) : p.mlp(h, l.mlp, y);
      p.add(x, y);
    }
    p.output(x, output_norm_, &output_);
  }

  const bool mixture_;
  Matrix embedding_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear output_;
};

}  // namespace

Architecture architecture_qwen3() {
  return {"qwen3", {.norm_kind = NormKind::kRms}, [] {
            return std::unique_ptr<Model>(new Qwen3(false));
          }};
}

Architecture architecture_qwen3moe() {
  return {"qwen3moe", {.norm_kind = NormKind::kRms}, [] {
            return std::unique_ptr<Model>(new Qwen3(true));
          }};
}

}  // namespace geist::model
