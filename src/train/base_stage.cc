#include "train/base_stage.h"

#include <cstring>
#include <filesystem>
#include <memory>

#include "base/hash.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"
#include "train/documents.h"
#include "train/stage_recipe.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

std::string beside(const std::string& folder, const std::string& path) {
  return fs::path(path).is_absolute() ? path : (fs::path(folder) / path).string();
}

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
  GEIST_TRY(t.require("files"));
  GEIST_TRY(t.read("files", &d->files));
  GEIST_TRY(t.read("validation_files", &d->validation_files));
  if (!d->validation_files.empty()) d->validation_share = 0;
  GEIST_TRY(t.read("validation_share", &d->validation_share, {.min = 0, .max = 0.9}));
  GEIST_TRY(t.read("field", &d->field));
  GEIST_TRY(t.read("separator", &d->separator));
  GEIST_TRY(t.read("split_bytes", &d->split_bytes, {.min = 0, .max = int64_t{1} << 40}));
  return t.read("validation_rows", &d->validation_rows, {.min = 0, .max = 1 << 20});
}

// Reads files into one or two corpora.
class Reader {
 public:
  Reader(const BaseOptions& options, const text::Tokenizer& tokenizer)
      : o_(options), tokenizer_(tokenizer) {}

  Corpus train, validation;

  Status read() {
    for (const std::string& file : o_.data.files) GEIST_TRY(read_file(file, false));
    for (const std::string& file : o_.data.validation_files) GEIST_TRY(read_file(file, true));
    return {};
  }

 private:
  Status read_file(const std::string& file, bool all_validation) {
    const DocumentOptions options{.field = o_.data.field, .separator = o_.data.separator};
    return read_documents(beside(o_.folder, file), options,
                          [&](std::string_view document, uint64_t) -> Status {
                            split(document, all_validation);
                            return {};
                          });
  }
  void split(std::string_view document, bool all_validation) {
    const auto limit = static_cast<size_t>(o_.data.split_bytes);
    while (limit > 0 && document.size() > limit) {
      const size_t end = document.find('\n', limit);
      if (end == std::string_view::npos) break;
      add(document.substr(0, end + 1), all_validation);
      document.remove_prefix(end + 1);
    }
    if (!document.empty()) add(document, all_validation);
  }
  // The same text goes to the same side, whatever stands around it.
  bool is_validation(std::string_view document) const {
    uint64_t head;
    const Sha256Digest digest = sha256(std::as_bytes(std::span(document)));
    std::memcpy(&head, digest.data(), sizeof head);
    return static_cast<double>(head >> 11) * 0x1p-53 < o_.data.validation_share;
  }
  // [BOS] text [EOS]: a model learns where a document ends.
  void add(std::string_view document, bool all_validation) {
    const text::Vocabulary& vocabulary = tokenizer_.vocabulary();
    ids_.clear();
    if (vocabulary.bos >= 0) ids_.push_back(vocabulary.bos);
    const auto ids = tokenizer_.encode(document, {.add_special = false});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    if (vocabulary.eos >= 0) ids_.push_back(vocabulary.eos);
    const bool aside = all_validation || is_validation(document);
    (aside ? validation : train).add(ids_, document.size());
  }

  const BaseOptions& o_;
  const text::Tokenizer& tokenizer_;
  std::vector<text::TokenId> ids_;
};

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
    source->validation_bytes = static_cast<double>(corpus.text_bytes) *
                               static_cast<double>(predictions) /
                               static_cast<double>(corpus.predictions());
}

}  // namespace

Result<BaseOptions> read_base_recipe(const Recipe& recipe, const std::string& recipe_path) {
  BaseOptions o;
  o.folder = fs::path(recipe_path).parent_path().string();
  const RecipeTable root = recipe.root();
  std::string out;
  GEIST_TRY(root.require("out"));
  GEIST_TRY(root.read("out", &out));
  GEIST_TRY(root.read("seed", &o.seed));
  GEIST_ASSIGN(const RecipeTable model, root.table("model"));
  GEIST_TRY(read_model(model, &o));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_data(data, &o.data));
  GEIST_TRY(read_trainer_tables(root, &o.trainer));
  GEIST_ASSIGN(const RecipeTable train, root.table("train"));
  GEIST_TRY(train.read("context", &o.context, {.min = 0, .max = 1 << 24}));
  GEIST_TRY(recipe.check_all_read());
  o.trainer.folder = beside(o.folder, out);
  o.trainer.recipe_hash = recipe.hash();
  return o;
}

Result<BaseSummary> run_base_stage(const BaseOptions& options, ThreadPool& pool,
                                   const BaseStart& start, const TrainObserver& observer) {
  GEIST_ASSIGN(TrainedModel trained, first_model(options));
  const int64_t limit = trained.model().config().context_length;
  const int64_t context = options.context > 0 ? options.context : limit;
  if (context > limit)
    return errorf("train.context = %lld is more than the model's %lld",
                  static_cast<long long>(context), static_cast<long long>(limit));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(trained.metadata()));
  if (tokenizer.vocabulary().eos < 0)
    return errorf("the tokenizer has no end-of-text token (tokenizer.ggml.eos_token_id)");
  Reader reader(options, tokenizer);
  GEIST_TRY(reader.read());
  if (reader.train.predictions() == 0)
    return errorf(
        "the data has no document to train on; look at data.files and "
        "data.validation_share");

  Packer packer(reader.train, context, options.seed, true);
  TrainSource source{.row = [&](int64_t row, auto* out) { packer.row(row, out); }};
  take_validation(reader.validation, context, options.data.validation_rows, &source);
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, options.trainer.optimizer, pool));
  BaseSummary summary;
  summary.parameters = trained.parameter_count();
  summary.train_tokens = reader.train.predictions();
  summary.validation_tokens = reader.validation.predictions();
  start(summary, trained.hash());
  GEIST_ASSIGN(summary.result,
               run_training(trained, optimizer, source, options.trainer, pool, observer));
  summary.weights_sha256 = trained.hash();
  if (!summary.result.finished) return summary;
  summary.model_path = (fs::path(options.trainer.folder) / "model.gguf").string();
  GEIST_TRY(trained.save(summary.model_path, optimizer.averaged()));
  return summary;
}

}  // namespace geist::train
