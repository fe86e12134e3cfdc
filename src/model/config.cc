#include "model/config.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <optional>

#include "kernels/attention.h"

namespace geist::model {
namespace {

// Bounds that no real model comes near: they keep every product of sizes far from overflow.
constexpr int64_t kBlockCountMax = 512;
constexpr int64_t kWidthMax = 1 << 20;
constexpr int64_t kHeadCountMax = 4096;
constexpr int64_t kHeadLengthMax = 8192;
constexpr int64_t kContextMax = 1 << 30;
constexpr int64_t kVocabularyMax = 1 << 24;
constexpr int64_t kExpertCountMax = 4096;
constexpr double kScaleMax = 1e9;

// Reads "<architecture>.<key>" values. The first error sticks and later reads do nothing, so that a
// list of keys reads as a list.
class KeyReader {
 public:
  KeyReader(const gguf::File& file, std::string_view architecture)
      : metadata_(file.metadata()),
        file_name_(file.name()),
        prefix_(std::string(architecture) + ".") {}

  // An integer in [low, high]; `fallback` when the key is absent, an error when there is no
  // fallback. Some keys may be arrays with a value for each layer: accepted when all are equal.
  int32_t integer(const char* key, int64_t low, int64_t high,
                  std::optional<int64_t> fallback = {}) {
    if (!error_.message.empty()) return 0;
    const std::string name = prefix_ + key;
    const auto it = metadata_.find(name);
    if (it == metadata_.end()) return static_cast<int32_t>(absent(name, fallback));
    int64_t value = 0;
    if (it->second.type == gguf::ValueType::kArray) {
      const auto values = take(gguf::get_ints(metadata_, name));
      if (!values || values->empty()) return static_cast<int32_t>(fail(name, "is an empty array"));
      value = values->front();
      if (!std::all_of(values->begin(), values->end(), [&](int64_t v) { return v == value; }))
        return static_cast<int32_t>(fail(name, "differs between layers, which is not supported"));
    } else {
      const auto read = take(gguf::get_int(metadata_, name));
      if (!read) return 0;
      value = *read;
    }
    if (value < low || value > high) {
      error_ = errorf("%s: '%s' is %" PRId64 ", but must be between %" PRId64 " and %" PRId64
                      "; the file is damaged or of an unknown kind",
                      file_name_.c_str(), name.c_str(), value, low, high);
      return 0;
    }
    return static_cast<int32_t>(value);
  }

  // A finite number in [low, high].
  double number(const char* key, double low, double high, std::optional<double> fallback = {}) {
    if (!error_.message.empty()) return 0;
    const std::string name = prefix_ + key;
    const auto value = take(gguf::get_float(metadata_, name));
    if (!value) return absent(name, fallback);
    if (!(*value >= low && *value <= high)) {  // also refuses NaN
      error_ = errorf(
          "%s: '%s' is %g, but must be between %g and %g; the file is damaged or of an unknown "
          "kind",
          file_name_.c_str(), name.c_str(), *value, low, high);
      return 0;
    }
    return *value;
  }

  bool boolean(const char* key, bool fallback) {
    if (!error_.message.empty()) return fallback;
    return take(gguf::get_bool(metadata_, prefix_ + key)).value_or(fallback);
  }
  std::optional<std::string> string(const char* key) {
    if (!error_.message.empty()) return std::nullopt;
    return take(gguf::get_string(metadata_, prefix_ + key));
  }
  bool has(const char* key) const { return metadata_.find(prefix_ + key) != metadata_.end(); }
  bool is_array(const char* key) const {
    const auto it = metadata_.find(prefix_ + key);
    return it != metadata_.end() && it->second.type == gguf::ValueType::kArray;
  }

  // A pattern with an entry for each layer: booleans or integers.
  std::vector<bool> layer_pattern(const char* key, int32_t layers) {
    if (!error_.message.empty()) return {};
    const std::string name = prefix_ + key;
    const gguf::Value& value = metadata_.find(name)->second;
    std::vector<bool> pattern;
    if (const auto* bools = std::get_if<std::vector<bool>>(&value.data)) {
      pattern = *bools;
    } else if (const auto values = take(gguf::get_ints(metadata_, name))) {
      for (const int64_t v : *values) pattern.push_back(v != 0);
    }
    if (static_cast<int64_t>(pattern.size()) < layers) fail(name, "has fewer entries than layers");
    return pattern;
  }

  // Records a relation between keys that does not hold.
  void require(bool holds, const char* key, int64_t value, const char* rule) {
    if (holds || !error_.message.empty()) return;
    error_ =
        errorf("%s: '%s%s' is %" PRId64 ", but must %s; the file is damaged or of an unknown kind",
               file_name_.c_str(), prefix_.c_str(), key, value, rule);
  }
  int64_t fail(const std::string& name, const char* what) {
    if (error_.message.empty())
      error_ = errorf("%s: '%s' %s", file_name_.c_str(), name.c_str(), what);
    return 0;
  }

  const gguf::Metadata& metadata() const { return metadata_; }
  const std::string& file_name() const { return file_name_; }
  Status status() const { return error_.message.empty() ? Status() : Status(error_); }
  bool ok() const { return error_.message.empty(); }
  void set_error(Error error) {
    if (error_.message.empty()) error_ = std::move(error);
  }

 private:
  template <typename T>
  std::optional<T> take(Result<std::optional<T>> result) {
    if (result.ok()) return std::move(result).value();
    error_ = Error{file_name_ + ": " + result.error().message};
    return std::nullopt;
  }
  template <typename T>
  T absent(const std::string& name, std::optional<T> fallback) {
    if (fallback) return *fallback;
    fail(name, "is missing, and this architecture needs it");
    return T{};
  }

  const gguf::Metadata& metadata_;
  std::string file_name_, prefix_;
  Error error_;
};

void read_sizes(KeyReader& r, Config& c) {
  c.block_count = r.integer("block_count", 1, kBlockCountMax);
  c.context_length = r.integer("context_length", 1, kContextMax);
  c.embedding_length = r.integer("embedding_length", 1, kWidthMax);
  c.feed_forward_length = r.integer("feed_forward_length", 0, kWidthMax, 0);
  c.head_count = r.integer("attention.head_count", 1, kHeadCountMax);
  c.head_count_kv = r.integer("attention.head_count_kv", 1, kHeadCountMax, c.head_count);
  if (!r.ok()) return;
  r.require(c.head_count % c.head_count_kv == 0, "attention.head_count_kv", c.head_count_kv,
            "divide attention.head_count");
  if (!r.has("attention.key_length"))
    r.require(c.embedding_length % c.head_count == 0, "attention.head_count", c.head_count,
              "divide embedding_length, unless attention.key_length is given");
  const int32_t head_length = std::max(1, c.embedding_length / c.head_count);
  c.key_length = r.integer("attention.key_length", 1, kHeadLengthMax, head_length);
  c.value_length = r.integer("attention.value_length", 1, kHeadLengthMax, head_length);
}

void read_rope(KeyReader& r, Config& c) {
  RopeConfig& rope = c.rope;
  rope.dims = r.integer("rope.dimension_count", 0, kHeadLengthMax, c.key_length);
  r.require(rope.dims % 2 == 0, "rope.dimension_count", rope.dims, "be even");
  r.require(rope.dims <= c.key_length, "rope.dimension_count", rope.dims,
            "be at most attention.key_length");
  rope.freq_base = r.number("rope.freq_base", 1.001, 1e12, 10000.0);
  rope.freq_base_local = r.number("rope.freq_base_swa", 1.001, 1e12, 0.0);
  rope.original_context =
      r.integer("rope.scaling.original_context_length", 1, kContextMax, c.context_length);
  rope.attention_factor = r.number("rope.scaling.attn_factor", 1e-3, 1e3, 1.0);
  rope.yarn_beta_fast = r.number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32.0);
  rope.yarn_beta_slow = r.number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1.0);
  rope.yarn_log_multiplier = r.number("rope.scaling.yarn_log_multiplier", 0.0, 1e3, 0.0);
  rope.enabled = r.boolean("rope.scaling.finetuned", true);
  // "rope.scale_linear" is the key of files from before scaling had a type. A factor of 0 means
  // none.
  const double old_factor = r.number("rope.scale_linear", 0.0, 1e6, 0.0);
  const double factor = r.number("rope.scaling.factor", 0.0, 1e6, old_factor);
  rope.factor = std::max(0.01, factor == 0.0 ? 1.0 : factor);
  const std::string type = r.string("rope.scaling.type").value_or("linear");
  if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
  } else if (type == "longrope") {
    rope.scaling = RopeScaling::kLongRope;
  } else if (type == "linear") {
    rope.scaling = rope.factor == 1.0 ? RopeScaling::kNone : RopeScaling::kLinear;
  } else if (type == "none") {
    rope.factor = 1.0;
  } else if (r.ok()) {
    r.set_error(
        errorf("%s: '%s.rope.scaling.type' is '%.40s'; known are none, linear, yarn and longrope",
               r.file_name().c_str(), c.architecture.c_str(), type.c_str()));
  }
}

void read_experts(KeyReader& r, Config& c) {
  ExpertConfig& e = c.expert;
  e.count = r.integer("expert_count", 0, kExpertCountMax, 0);
  e.used = r.integer("expert_used_count", 0, kExpertCountMax, 0);
  e.feed_forward_length = r.integer("expert_feed_forward_length", 0, kWidthMax, 0);
  e.shared_feed_forward_length = r.integer("expert_shared_feed_forward_length", 0, kWidthMax, 0);
  const double scale = r.number("expert_weights_scale", 0.0, kScaleMax, 0.0);
  e.weights_scale = scale == 0.0 ? 1.0f : static_cast<float>(scale);
  if (e.count == 0) return;
  r.require(e.used >= 1 && e.used <= e.count, "expert_used_count", e.used,
            "be between 1 and expert_count");
}

void read_attention(KeyReader& r, Config& c, const ArchTraits& traits) {
  const double scale = r.number("attention.scale", -kScaleMax, kScaleMax, 0.0);
  c.attention_scale_given = scale != 0.0;
  // 1 / sqrt in double, rounded once: the same bits everywhere.
  c.attention_scale =
      static_cast<float>(scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(c.key_length)));
  c.attention_softcap = static_cast<float>(r.number("attn_logit_softcapping", 0.0, kScaleMax, 0.0));
  c.output_softcap = static_cast<float>(r.number("final_logit_softcapping", 0.0, kScaleMax, 0.0));
  c.clamp_kqv = static_cast<float>(r.number("attention.clamp_kqv", 0.0, kScaleMax, 0.0));
  c.alibi_bias_max = static_cast<float>(
      r.number("attention.max_alibi_bias", 0.0, 1024.0, double{traits.alibi_bias_max}));
}

// Which layers attend within a window; files of architectures that have none may still carry keys.
void read_windows(KeyReader& r, Config& c, const ArchTraits& traits) {
  c.sliding_window = r.integer("attention.sliding_window", 0, kContextMax, 0);
  if (c.sliding_window == 0) c.sliding_window = traits.sliding_window;
  std::vector<bool> pattern;
  int32_t period = 0;
  if (r.is_array("attention.sliding_window_pattern")) {
    pattern = r.layer_pattern("attention.sliding_window_pattern", c.block_count);
  } else {
    period = r.integer("attention.sliding_window_pattern", 0, kBlockCountMax, 0);
  }
  if (!r.ok()) return;
  if (period == 0) period = traits.local_layer_period;
  const bool windows = traits.local_layer_period > 0 && c.sliding_window > 0;
  for (int32_t i = 0; i < c.block_count; ++i)
    c.local_layers.push_back(
        windows && (pattern.empty() ? i % period < period - 1 : pattern[static_cast<size_t>(i)]));
}

void make_kv_layouts(KeyReader& r, Config& c) {
  for (int type = 0; r.ok() && type < kernels::kKvTypeCount; ++type) {
    const kernels::KvShape shape{c.head_count_kv, c.key_length, c.value_length,
                                 static_cast<KvType>(type)};
    auto layout = make_kv_layout(shape, c.local_layers);
    r.require(layout.has_value(), "attention.head_count_kv", c.head_count_kv,
              "leave a page of keys and values of a size that can be counted");
    if (layout) c.kv_layouts[static_cast<size_t>(type)] = std::move(*layout);
  }
}

void read_scales(KeyReader& r, Config& c) {
  c.embedding_scale = static_cast<float>(r.number("embedding_scale", -kScaleMax, kScaleMax, 0.0));
  c.residual_scale = static_cast<float>(r.number("residual_scale", -kScaleMax, kScaleMax, 0.0));
  c.logit_scale = static_cast<float>(r.number("logit_scale", -kScaleMax, kScaleMax, 0.0));
  c.parallel_residual = r.boolean("use_parallel_residual", true);
}

void read_pooling(KeyReader& r, Config& c, const ArchTraits& traits) {
  c.causal = r.boolean("attention.causal", traits.causal);
  // Looking both ways, a model cannot say what comes next, whatever its architecture.
  c.has_logits = traits.causal && c.causal;
  const int32_t type = r.integer("pooling_type", 0, 4, traits.causal ? 0 : 1);
  constexpr Pooling kByNumber[] = {Pooling::kNone, Pooling::kMean, Pooling::kCls, Pooling::kLast,
                                   Pooling::kCls};
  c.pooling = kByNumber[type];
}

Error in_file(const gguf::File& file, const Error& error) {
  return Error{file.name() + ": " + error.message};
}

// The vocabulary is as large as the embedding table; what the metadata says must fit into it.
Status read_vocabulary(const gguf::File& file, Config& c) {
  const gguf::Tensor* table = file.find("token_embd.weight");
  if (table == nullptr)
    return errorf(
        "%s: tensor 'token_embd.weight' is missing; this is not a complete language model",
        file.name().c_str());
  if (table->rows() > kVocabularyMax)
    return errorf("%s: tensor 'token_embd.weight' has %" PRId64 " rows; more than %" PRId64
                  " is not supported",
                  file.name().c_str(), table->rows(), kVocabularyMax);
  c.vocab_size = static_cast<int32_t>(table->rows());
  const std::string key = c.architecture + ".vocab_size";
  const auto stated_value = gguf::get_int(file.metadata(), key);
  if (!stated_value.ok()) return in_file(file, stated_value.error());
  const std::optional<int64_t> stated = *stated_value;
  if (stated && (*stated < 1 || *stated > c.vocab_size))
    return errorf("%s: '%s' is %" PRId64 ", but 'token_embd.weight' has %d rows",
                  file.name().c_str(), key.c_str(), *stated, c.vocab_size);
  const auto token_list = gguf::get_strings(file.metadata(), "tokenizer.ggml.tokens");
  if (!token_list.ok()) return in_file(file, token_list.error());
  const std::vector<std::string>* tokens = *token_list;
  if (tokens != nullptr && static_cast<int64_t>(tokens->size()) > c.vocab_size)
    return errorf(
        "%s: 'tokenizer.ggml.tokens' has %zu entries, but 'token_embd.weight' has only %d rows",
        file.name().c_str(), tokens->size(), c.vocab_size);
  return {};
}

}  // namespace

Result<Config> read_config(const gguf::File& file, std::string_view architecture,
                           const ArchTraits& traits) {
  Config c;
  c.architecture = architecture;
  c.norm_kind = traits.norm_kind;
  const auto name = gguf::get_string(file.metadata(), "general.name");
  if (name.ok()) c.name = name.value().value_or("");

  KeyReader r(file, architecture);
  read_sizes(r, c);
  c.norm_eps = static_cast<float>(r.number(traits.norm_kind == NormKind::kRms
                                               ? "attention.layer_norm_rms_epsilon"
                                               : "attention.layer_norm_epsilon",
                                           1e-30, 1.0));
  if (traits.rotates) read_rope(r, c);
  read_experts(r, c);
  read_attention(r, c, traits);
  read_windows(r, c, traits);
  make_kv_layouts(r, c);
  read_scales(r, c);
  read_pooling(r, c, traits);
  GEIST_TRY(r.status());
  GEIST_TRY(read_vocabulary(file, c));
  return c;
}

}  // namespace geist::model
