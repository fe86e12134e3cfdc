// The numbers that define a model's shape, read from GGUF metadata and checked. Metadata is hostile
// input: every number has a range, and relations between numbers that later code relies on (head
// counts divide, rotated dimensions fit) are established here, once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "model/kv_layout.h"

namespace geist::model {

enum class NormKind { kRms, kLayer };
enum class Pooling { kNone, kMean, kCls, kLast };

enum class RopeScaling { kNone, kLinear, kYarn, kLongRope };

// Rotary position embedding (Su et al., arXiv:2104.09864) and its extensions; rope.h turns it into
// tables.
struct RopeConfig {
  int32_t dims = 0;  // rotated elements of a head, even; 0: the architecture does not rotate
  double freq_base = 10000.0;
  double freq_base_local = 0.0;  // of sliding-window layers; 0: the key is absent
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;  // context extension
  int32_t original_context = 0;
  double attention_factor = 1.0;  // multiplies cos and sin
  double yarn_beta_fast = 32.0, yarn_beta_slow = 1.0;
  double yarn_log_multiplier = 0.0;
  bool enabled = true;  // granite: rope.scaling.finetuned = false switches rotation off
};

// Mixture of experts; count 0: none.
struct ExpertConfig {
  int32_t count = 0, used = 0;
  int32_t feed_forward_length = 0;
  int32_t shared_feed_forward_length = 0;  // 0: the key is absent
  float weights_scale = 1.0f;
};

struct Config {
  std::string architecture, name;
  int32_t block_count = 0;
  int32_t context_length = 0;
  int32_t embedding_length = 0;
  int32_t feed_forward_length = 0;  // 0: the key is absent (mixtures of experts may do without)
  int32_t vocab_size = 0;           // rows of token_embd.weight
  int32_t head_count = 0, head_count_kv = 0;
  int32_t key_length = 0, value_length = 0;  // of one head
  NormKind norm_kind = NormKind::kRms;
  float norm_eps = 0.0f;
  RopeConfig rope;
  ExpertConfig expert;

  float attention_scale = 0.0f;  // on q . k; 1 / sqrt(key_length) unless the file says otherwise
  bool attention_scale_given = false;
  float attention_softcap = 0.0f, output_softcap = 0.0f;  // 0: none
  int32_t sliding_window = 0;                             // 0: none
  std::vector<bool> local_layers;  // [block_count]: attends within the sliding window only
  float clamp_kqv = 0.0f;          // 0: none
  float alibi_bias_max = 0.0f;     // 0: none
  float embedding_scale = 0.0f, residual_scale = 0.0f, logit_scale = 0.0f;  // 0: none
  bool parallel_residual = true;

  bool causal = true;      // false: embedding models; a whole sequence goes in one batch
  bool has_logits = true;  // false: Output::kHidden only
  Pooling pooling = Pooling::kNone;
  int32_t position_limit =
      0;  // positions are below this; 0: no learned positions, no limit but memory

  std::array<KvLayout, kernels::kKvTypeCount> kv_layouts;
  const KvLayout& kv_layout(KvType type) const { return kv_layouts[static_cast<size_t>(type)]; }

  int32_t window_of(int32_t layer) const {  // 0: the layer attends to everything
    return local_layers[static_cast<size_t>(layer)] ? sliding_window : 0;
  }
};

// What the registry knows about an architecture before its file is read.
struct ArchTraits {
  NormKind norm_kind = NormKind::kRms;
  bool rotates = true;  // uses RoPE
  bool causal = true;
  float alibi_bias_max = 0.0f;  // ALiBi without a key of its own (bloom)
  // Layers attend within a sliding window, but for every period-th: layer i is local when
  // i % period < period - 1, unless the file has a pattern of its own. 0: the architecture ignores
  // windows.
  int32_t local_layer_period = 0;
  int32_t sliding_window = 0;  // where the file does not say
};

// Reads and checks the metadata of `file`. An error names the key, its value and what is allowed.
Result<Config> read_config(const gguf::File& file, std::string_view architecture,
                           const ArchTraits& traits);

}  // namespace geist::model
