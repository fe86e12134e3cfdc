#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "base/check.h"
#include "model/lora.h"
#include "model/pass.h"
#include "model/registry.h"
#include "model/weights.h"

namespace geist::model {
namespace {

// A rotation divisor below this would turn positions into angles beyond any use.
constexpr float kDivisorMin = 0.01f, kDivisorMax = 1e6f;

// Divisors of the rotation frequencies, which some files carry as tensors: one set (Llama 3.1), or
// one for contexts up to the original length and one for longer (LongRoPE). Keys in pages must not
// depend on how long a sequence will become, so the choice is the model's: by the context that the
// file declares.
Result<Vector> read_rope_divisors(Loader& loader) {
  const Config& c = loader.config();
  const bool longer = c.context_length > c.rope.original_context;
  struct Source {
    const char* name;
    bool used;
  };
  const bool by_length = loader.has("rope_factors_long.weight");
  const Source sources[] = {{"rope_freqs.weight", !by_length},
                            {"rope_factors_long.weight", by_length && longer},
                            {"rope_factors_short.weight", by_length && !longer}};
  Vector chosen;
  for (const Source& source : sources) {
    Vector divisors;
    loader.numbers(divisors, source.name, {c.rope.dims / 2}, Need::kOptional);
    GEIST_TRY(loader.status());
    for (const float d : divisors)
      if (!(d >= kDivisorMin && d <= kDivisorMax))
        return errorf(
            "%s: tensor '%s' holds %g, but rotation divisors are between %g and %g; the file is "
            "damaged",
            loader.file().name().c_str(), source.name, double{d}, double{kDivisorMin},
            double{kDivisorMax});
    if (source.used) chosen = std::move(divisors);
  }
  return chosen;
}

Result<const Architecture*> architecture_of(const gguf::File& file) {
  const auto read = gguf::get_string(file.metadata(), "general.architecture");
  if (!read.ok()) return errorf("%s: %s", file.name().c_str(), read.error().message.c_str());
  const std::optional<std::string>& name = *read;
  if (!name)
    return errorf("%s: 'general.architecture' is missing; this is not a language model",
                  file.name().c_str());
  if (is_adapter_file(file))
    return errorf("%s: an adapter, not a model; give its model, and the adapter with --lora",
                  file.name().c_str());
  if (const Architecture* found = find_architecture(*name)) return found;
  std::string known;
  for (const Architecture& a : architectures())
    known += (known.empty() ? "" : ", ") + std::string(a.name);
  return errorf("%s: architecture '%.60s' is not supported; supported are %s", file.name().c_str(),
                name->c_str(), known.c_str());
}

Result<const kernels::Kernels*> choose_kernels(const LoadOptions& options) {
  if (options.kernels != nullptr) return options.kernels;
  const char* error = nullptr;
  const kernels::Kernels* chosen = kernels::default_kernels(&error);
  if (chosen == nullptr)
    return errorf("%s", error != nullptr ? error : "no kernels for this processor");
  return chosen;
}

}  // namespace

Model::Model() = default;
Model::~Model() = default;

Result<Config> read_model_config(const gguf::File& file) {
  GEIST_ASSIGN(const Architecture* architecture, architecture_of(file));
  return read_config(file, architecture->name, architecture->traits);
}

Result<std::unique_ptr<Model>> Model::load(gguf::File file, const LoadOptions& options) try {
  GEIST_ASSIGN(const kernels::Kernels* kernels, choose_kernels(options));
  GEIST_ASSIGN(const Architecture* architecture, architecture_of(file));
  GEIST_ASSIGN(Config config, read_config(file, architecture->name, architecture->traits));
  std::unique_ptr<Model> model = architecture->make();
  model->config_ = std::move(config);
  model->file_ = std::move(file);
  model->kernels_ = kernels;

  Loader loader(model->file_, model->config_);
  const RopeConfig& rope = model->config_.rope;
  if (rope.dims > 0) {
    GEIST_ASSIGN(const Vector divisors, read_rope_divisors(loader));
    model->rope_ = make_rope_frequencies(rope, rope.freq_base, divisors);
    const double local_base = rope.freq_base_local != 0.0 ? rope.freq_base_local : rope.freq_base;
    model->rope_local_ = make_rope_frequencies(rope, local_base, divisors);
  }
  model->load_weights(loader);
  loader.refuse_unused();
  GEIST_TRY(loader.status());
  model->vectors_ = loader.vectors();
  model->note_uses(loader);

  model->packed_ = std::make_unique<PackedWeights>();
  if (options.pack) {
    ThreadPool single(1);
    model->packed_->pack(loader, *kernels, options.pool != nullptr ? *options.pool : single,
                         options.packed_bytes_max, options.progress);
  }
  return model;
} catch (const std::bad_alloc&) {
  return errorf("not enough memory to load the model");
}

void Model::note_uses(const Loader& loader) {
  for (const Loader::Product& p : loader.products()) {
    TensorUse& use = uses_[p.tensor->name];
    use.is_expert = p.is_expert;
    if (!p.is_expert) use.product = p.matrix;
  }
  for (const Loader::Product& t : loader.tables()) uses_[t.tensor->name].table = t.matrix;
  // An embedding table that is the output head too.
  const auto embedding = uses_.find("token_embd.weight");
  if (embedding != uses_.end() && embedding->second.product != nullptr) {
    uses_["output.weight"].product = embedding->second.product;
    embedding->second.product = nullptr;
  }
}

Model::TensorUse Model::find_tensor(std::string_view name) const {
  const auto found = uses_.find(name);
  return found == uses_.end() ? TensorUse{} : found->second;
}

int64_t Model::packed_bytes() const { return packed_->bytes(); }
int64_t Model::unpacked_bytes() const { return packed_->unpacked_bytes(); }

Status Model::check_tokens(std::span<const text::TokenId> ids, int32_t first_pos) const {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= config_.vocab_size)
      return errorf("token %d (number %zu) is not in the vocabulary of %d", ids[i], i + 1,
                    config_.vocab_size);
  const int64_t end = int64_t{first_pos} + static_cast<int64_t>(ids.size());
  if (config_.position_limit != 0 && end > config_.position_limit)
    return errorf(
        "%lld tokens are more than the %d positions that this model has; shorten the text",
        static_cast<long long>(end), config_.position_limit);
  return {};
}

void Model::forward(std::span<const BatchToken> batch, Output output, Workspace& workspace,
                    ThreadPool& pool, float* out) const {
  forward(batch, output, workspace, pool, out, nullptr);
}

void Model::forward(std::span<const BatchToken> batch, Output output, Workspace& workspace,
                    ThreadPool& pool, float* out, Tape* tape) const {
  if (batch.empty()) return;
  Pass pass(*this, batch, output, workspace, pool, out, tape);
  run(pass);
}

void Model::refresh_vectors() {
  for (const VectorSource& source : vectors_) widen(*source.tensor, *source.vector);
}

const gguf::Tensor& Model::tensor_of(const std::vector<float>& vector) const {
  const auto found = std::find_if(vectors_.begin(), vectors_.end(),
                                  [&](const VectorSource& s) { return s.vector == &vector; });
  GEIST_CHECK(found != vectors_.end());
  return *found->tensor;
}

void pool_embedding(const Model& model, std::span<const float> rows, float* out) {
  const int64_t n = model.config().embedding_length;
  const int64_t count = static_cast<int64_t>(rows.size()) / n;
  GEIST_CHECK(count > 0);
  const kernels::Kernels& k = model.kernels();
  const Pooling pooling = model.config().pooling;
  const float* source = pooling == Pooling::kLast ? rows.data() + (count - 1) * n : rows.data();
  std::memcpy(out, source, static_cast<size_t>(n) * sizeof(float));
  if (pooling == Pooling::kMean || pooling == Pooling::kNone) {
    for (int64_t t = 1; t < count; ++t) k.add(out, rows.data() + t * n, n, out);
    k.scale(out, 1.0f / static_cast<float>(count), n, out);
  }
  const float length = std::sqrt(k.dot(out, out, n));
  if (length > 0.0f) k.scale(out, 1.0f / length, n, out);
}

}  // namespace geist::model
