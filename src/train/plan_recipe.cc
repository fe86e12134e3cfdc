// What a recipe of geist train base asks for, as the options of a plan.
#include <filesystem>

#include "model/hf_import.h"
#include "train/plan.h"

namespace geist::train {
namespace {

std::string beside(const BaseOptions& base, const std::string& path) {
  return (std::filesystem::path(base.folder) / path).string();  // an absolute path stays
}

Status take_old_model(const BaseOptions& base, PlanOptions* o) {
  GEIST_ASSIGN(gguf::File file, model::open_model_file(beside(base, base.from)));
  for (const gguf::Tensor& tensor : file.tensors())
    o->parameters += static_cast<double>(tensor.elements());
  GEIST_ASSIGN(const auto loaded, model::Model::load(std::move(file)));
  const model::Config& c = loaded->config();
  o->shape = {c.block_count, c.embedding_length, int64_t{c.head_count_kv} * c.key_length,
              c.feed_forward_length, c.norm_kind == model::NormKind::kRms};
  o->context = c.context_length;
  return {};
}

Status take_new_model(const BaseOptions& base, PlanOptions* o) {
  GEIST_ASSIGN(const gguf::File file, gguf::File::open(beside(base, base.tokenizer)));
  GEIST_ASSIGN(const std::vector<std::string>* tokens,
               gguf::get_strings(file.metadata(), "tokenizer.ggml.tokens"));
  if (tokens == nullptr) return errorf("%s: has no vocabulary", base.tokenizer.c_str());
  GEIST_ASSIGN(const SizedShape sized,
               size_shape(base.shape, static_cast<int64_t>(tokens->size())));
  const ModelShape& s = sized.shape;
  o->parameters = static_cast<double>(sized.parameters);
  o->shape = {s.layers, s.width, s.width / s.heads * s.kv_heads, s.feed_forward,
              s.architecture == "llama"};
  o->context = static_cast<double>(s.context);
  return {};
}

}  // namespace

Result<PlanOptions> plan_options(const BaseOptions& base) {
  PlanOptions o;
  GEIST_TRY(base.from.empty() ? take_new_model(base, &o) : take_old_model(base, &o));
  if (base.context > 0) o.context = static_cast<double>(base.context);
  o.rows = static_cast<double>(base.trainer.rows_at_once);
  o.batch_tokens = static_cast<double>(base.trainer.batch_rows) * o.context;
  o.tokens = o.batch_tokens * static_cast<double>(base.trainer.optimizer.schedule.steps);
  o.weight_bytes = o.gradient_bytes = o.activation_bytes = 4;
  o.optimizer_bytes = 8;
  o.watts = 100;
  return o;
}

}  // namespace geist::train
