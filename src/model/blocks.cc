#include "model/blocks.h"

namespace geist::model {
namespace {

// A mixture without experts, or a width that the file does not state, is an error of the file,
// found here once for all architectures.
bool check_width(Loader& loader, int64_t feed_forward, const char* key) {
  if (feed_forward > 0) return true;
  loader.fail(errorf("'%s.%s' is missing, and this architecture needs it",
                     loader.config().architecture.c_str(), key));
  return false;
}

}  // namespace

void load_attention(Loader& loader, Attention& a, int layer) {
  const Config& c = loader.config();
  const int64_t n = c.embedding_length;
  const int64_t q_rows = int64_t{c.head_count} * c.key_length;
  const int64_t k_rows = int64_t{c.head_count_kv} * c.key_length;
  const int64_t v_rows = int64_t{c.head_count_kv} * c.value_length;
  a.layer = layer;
  if (loader.has(block_name(layer, "attn_qkv.weight"))) {
    loader.linear(a.qkv, block_name(layer, "attn_qkv"), q_rows + k_rows + v_rows, n);
  } else {
    loader.linear(a.q, block_name(layer, "attn_q"), q_rows, n);
    loader.linear(a.k, block_name(layer, "attn_k"), k_rows, n);
    loader.linear(a.v, block_name(layer, "attn_v"), v_rows, n);
  }
  loader.linear(a.out, block_name(layer, "attn_output"), n, int64_t{c.head_count} * c.value_length);
}

void load_head_norms(Loader& loader, Attention& a, int layer) {
  loader.norm(a.q_norm, block_name(layer, "attn_q_norm"), {loader.config().key_length});
  loader.norm(a.k_norm, block_name(layer, "attn_k_norm"), {loader.config().key_length});
}

void load_norms_per_head(Loader& loader, Attention& a, int layer) {
  const Config& c = loader.config();
  const std::string q = block_name(layer, "attn_q_norm"), k = block_name(layer, "attn_k_norm");
  if (!loader.has(q + ".weight") && !loader.has(k + ".weight")) return;
  loader.norm(a.q_norm, q, {c.key_length, c.head_count});
  loader.norm(a.k_norm, k, {c.key_length, c.head_count_kv});
}

void load_row_norms(Loader& loader, Attention& a, int layer) {
  const Config& c = loader.config();
  a.norm_whole_row = true;
  loader.norm(a.q_norm, block_name(layer, "attn_q_norm"), {int64_t{c.head_count} * c.key_length});
  loader.norm(a.k_norm, block_name(layer, "attn_k_norm"),
              {int64_t{c.head_count_kv} * c.key_length});
}

void load_gated_mlp(Loader& loader, Mlp& mlp, int layer) {
  const int64_t n = loader.config().embedding_length, ff = loader.config().feed_forward_length;
  if (!check_width(loader, ff, "feed_forward_length")) return;
  loader.linear(mlp.gate, block_name(layer, "ffn_gate"), ff, n);
  loader.linear(mlp.up, block_name(layer, "ffn_up"), ff, n);
  loader.linear(mlp.down, block_name(layer, "ffn_down"), n, ff);
}

void load_gelu_mlp(Loader& loader, Mlp& mlp, int layer) {
  const int64_t n = loader.config().embedding_length, ff = loader.config().feed_forward_length;
  if (!check_width(loader, ff, "feed_forward_length")) return;
  mlp.activation = Activation::kGelu;
  loader.linear(mlp.up, block_name(layer, "ffn_up"), ff, n);
  loader.linear(mlp.down, block_name(layer, "ffn_down"), n, ff);
}

int64_t expert_feed_forward(const Config& c) {
  if (c.expert.feed_forward_length > 0 || c.expert.used == 0) return c.expert.feed_forward_length;
  return c.feed_forward_length / c.expert.used;
}

void load_moe(Loader& loader, Moe& moe, int layer, int64_t feed_forward) {
  const Config& c = loader.config();
  if (!check_width(loader, c.expert.count, "expert_count")) return;
  if (!check_width(loader, feed_forward, "expert_feed_forward_length")) return;
  moe.used = c.expert.used;
  moe.weights_scale = c.expert.weights_scale;
  loader.linear(moe.router, block_name(layer, "ffn_gate_inp"), c.expert.count, c.embedding_length);
  loader.experts(moe.gate, layer, "gate", feed_forward, c.embedding_length);
  loader.experts(moe.up, layer, "up", feed_forward, c.embedding_length);
  loader.experts(moe.down, layer, "down", c.embedding_length, feed_forward);
}

void load_shared_expert(Loader& loader, Moe& moe, int layer, int64_t feed_forward) {
  const int64_t n = loader.config().embedding_length;
  if (!check_width(loader, feed_forward, "expert_shared_feed_forward_length")) return;
  loader.linear(moe.shared.gate, block_name(layer, "ffn_gate_shexp"), feed_forward, n);
  loader.linear(moe.shared.up, block_name(layer, "ffn_up_shexp"), feed_forward, n);
  loader.linear(moe.shared.down, block_name(layer, "ffn_down_shexp"), n, feed_forward);
}

void load_token_type(Loader& loader, Vector& out) {
  const gguf::Tensor* types = loader.file().find("token_types.weight");
  if (types == nullptr) return;
  loader.vector(out, "token_types.weight", {loader.config().embedding_length, types->rows()});
  if (loader.ok()) out.resize(static_cast<size_t>(loader.config().embedding_length));
}

}  // namespace geist::model
