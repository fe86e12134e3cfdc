#include "train/base_stage.h"

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

Status read_model(const RecipeTable& t, BaseOptions* o) {
  GEIST_TRY(t.read("from", &o->from));
  GEIST_TRY(t.read("tokenizer", &o->tokenizer));
  if (o->from.empty() == o->tokenizer.empty())
    return t.error("from", "give either 'from', a model to go on with, or 'tokenizer' and a shape");
  ModelShape& s = o->shape;
  GEIST_TRY(t.read_choice("architecture", &s.architecture, {"llama", "gpt2"}));
  const IntRange size{.min = 1, .max = 1 << 20};
  GEIST_TRY(t.read("layers", &s.layers, size));
  GEIST_TRY(t.read("width", &s.width, size));
  GEIST_TRY(t.read("heads", &s.heads, size));
  GEIST_TRY(t.read("kv_heads", &s.kv_heads, {.min = 0, .max = 1 << 20}));
  GEIST_TRY(t.read("feed_forward", &s.feed_forward, {.min = 0, .max = 1 << 20}));
  GEIST_TRY(t.read("context", &s.context, size));
  GEIST_TRY(t.read("tied", &s.tied));
  GEIST_TRY(t.read("norm_eps", &s.norm_eps, {.min = 1e-12, .max = 1}));
  GEIST_TRY(t.read("rope_base", &s.rope_base, {.min = 1, .max = 1e9}));
  return t.read("initial_deviation", &s.deviation, {.min = 0, .max = 10});
}

Status read_data(const RecipeTable& t, BaseData* d) {
  GEIST_TRY(t.read("files", &d->files));
  GEIST_TRY(t.read("shards", &d->shards));
  if (d->files.empty() && d->shards.empty())
    return t.error("files", "give 'files', 'shards' (folders of geist train data) or both");
  GEIST_TRY(t.read("validation_files", &d->validation_files));
  if (!d->validation_files.empty()) d->validation_share = 0;
  GEIST_TRY(t.read("validation_share", &d->validation_share, {.min = 0, .max = 0.9}));
  GEIST_TRY(t.read("field", &d->field));
  GEIST_TRY(t.read("separator", &d->separator));
  GEIST_TRY(t.read("split_bytes", &d->split_bytes, {.min = 0, .max = int64_t{1} << 40}));
  return t.read("validation_rows", &d->validation_rows, {.min = 0, .max = 1 << 20});
}

Result<TrainedModel> first_model(const BaseOptions& o) {
  if (!o.from.empty()) {
    GEIST_ASSIGN(const gguf::File file, model::open_model_file(beside(o.folder, o.from)));
    return TrainedModel::make(file);
  }
  GEIST_ASSIGN(const gguf::File tokenizer, gguf::File::open(beside(o.folder, o.tokenizer)));
  GEIST_ASSIGN(const gguf::File file, new_model(o.shape, tokenizer.metadata(), o.seed));
  return TrainedModel::make(file);
}

void take_validation(const Corpus& corpus, int64_t context, int64_t rows_max, TrainSource* source) {
  Packer packer(corpus, context, 0, false);
  int64_t predictions = 0;
  for (int64_t i = 0; i < std::min(packer.rows(), rows_max); ++i) {
    source->validation.emplace_back();
    packer.row(i, &source->validation.back());
    for (const TrainSequence& s : source->validation.back())
      predictions += static_cast<int64_t>(s.ids.size()) - 1;
  }
  // Rows that are left out leave out their share of the bytes.
  if (predictions > 0)
    source->validation_bytes = static_cast<double>(corpus.text_bytes()) *
                               static_cast<double>(predictions) /
                               static_cast<double>(corpus.predictions());
}

}  // namespace

Result<BaseOptions> read_base_recipe(const Recipe& recipe, const std::string& recipe_path) {
  BaseOptions o;
  const RecipeTable root = recipe.root();
  GEIST_TRY(read_stage_head(root, recipe_path, &o, &o.trainer));
  GEIST_ASSIGN(const RecipeTable model, root.table("model"));
  GEIST_TRY(read_model(model, &o));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_data(data, &o.data));
  GEIST_TRY(read_trainer_tables(root, &o.trainer));
  GEIST_ASSIGN(const RecipeTable train, root.table("train"));
  GEIST_TRY(train.read("context", &o.context, {.min = 0, .max = 1 << 24}));
  GEIST_TRY(end_stage_recipe(recipe, &o.trainer));
  return o;
}

Result<BaseSummary> run_base_stage(const BaseOptions& options, ThreadPool& pool,
                                   const BaseStart& start, const TrainObserver& observer) {
  const std::string model_path = (fs::path(options.trainer.folder) / "model.gguf").string();
  const std::string first = options.from.empty() ? options.tokenizer : options.from;
  GEIST_TRY(refuse_overwriting(model_path, {{beside(options.folder, first)}}));
  GEIST_ASSIGN(TrainedModel trained, first_model(options));
  GEIST_ASSIGN(const int64_t context,
               row_context(options.context, trained.model().config().context_length));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(trained.metadata()));
  if (tokenizer.vocabulary().eos < 0)
    return errorf("the tokenizer has no end-of-text token (tokenizer.ggml.eos_token_id)");
  GEIST_ASSIGN(const BaseCorpora corpora, read_corpora(options.data, options.folder, tokenizer));
  if (corpora.train.predictions() == 0)
    return errorf(
        "the data has no document to train on; look at data.files and "
        "data.validation_share");

  Packer packer(corpora.train, context, options.seed, true);
  TrainSource source{.row = [&](int64_t row, auto* out) { packer.row(row, out); }};
  take_validation(corpora.validation, context, options.data.validation_rows, &source);
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, options.trainer.optimizer, pool));
  BaseSummary summary;
  summary.parameters = trained.parameter_count();
  summary.train_tokens = corpora.train.predictions();
  summary.validation_tokens = corpora.validation.predictions();
  start(summary, trained.hash());
  GEIST_ASSIGN(summary.result,
               run_training(trained, optimizer, source, options.trainer, pool, observer));
  summary.weights_sha256 = trained.hash();
  if (!summary.result.finished) return summary;
  summary.model_path = model_path;
  if (options.trainer.ranks == nullptr || options.trainer.ranks->is_first())
    GEIST_TRY(save_result(trained, model_path, optimizer.averaged()));
  return summary;
}

}  // namespace geist::train
