#include "train/sft_stage.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

// The model, with the recipe's chat template in the place of its own.
Result<gguf::File> open_base(const SftOptions& o) {
  GEIST_ASSIGN(gguf::File file, model::open_model_file(beside(o.folder, o.from)));
  if (o.data.chat_template.empty()) return file;
  GEIST_ASSIGN(std::string source, read_file(beside(o.folder, o.data.chat_template)));
  gguf::Metadata metadata = file.metadata();
  metadata["tokenizer.chat_template"] = gguf::Value::string(std::move(source));
  const auto owner = std::make_shared<gguf::File>(std::move(file));
  return gguf::File::assemble(std::move(metadata),
                              {owner->tensors().begin(), owner->tensors().end()}, owner,
                              owner->name());
}

Status read_lora(const RecipeTable& t, LoraOptions* o) {
  GEIST_TRY(t.read("rank", &o->rank, {.min = 1, .max = 4096}));
  o->alpha = 2 * static_cast<double>(o->rank);
  GEIST_TRY(t.read("alpha", &o->alpha, {.min = 1e-6, .max = 1e6}));
  return t.read("targets", &o->targets);
}

// One sequence a row: what validation measures does not depend on how training is packed.
void take_validation(const std::vector<EncodedChat>& chats, int64_t most, TrainSource* source) {
  for (size_t i = 0; i < std::min(chats.size(), static_cast<size_t>(most)); ++i) {
    source->validation.push_back({{.ids = chats[i].ids, .weights = chats[i].weights}});
    source->validation_bytes += static_cast<double>(chats[i].learned_bytes);
  }
}

Metrics facts_of(const SftSummary& s) {
  return {{"conversations", static_cast<double>(s.conversations)},
          {"sequences", static_cast<double>(s.sequences)},
          {"dropped_too_long", static_cast<double>(s.dropped)},
          {"truncated", static_cast<double>(s.truncated)},
          {"learned_tokens", static_cast<double>(s.learned_tokens)},
          {"validation_tokens", static_cast<double>(s.validation_tokens)}};
}

}  // namespace

Result<SftOptions> read_sft_recipe(const Recipe& recipe, const std::string& recipe_path,
                                   SftKind kind) {
  SftOptions o;
  const RecipeTable root = recipe.root();
  GEIST_TRY(read_stage_head(root, recipe_path, &o, &o.trainer));
  GEIST_TRY(read_stage_model(root, &o));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_chat_data(data, &o.data));
  if (kind == SftKind::kAdapter) {
    o.lora.emplace();
    o.trainer.optimizer.weight_decay = 0;
    GEIST_ASSIGN(const RecipeTable lora, root.table("lora"));
    GEIST_TRY(read_lora(lora, &*o.lora));
  }
  GEIST_TRY(read_trainer_tables(root, &o.trainer));
  GEIST_ASSIGN(const RecipeTable train, root.table("train"));
  GEIST_TRY(train.read("context", &o.context, {.min = 0, .max = 1 << 24}));
  GEIST_TRY(end_stage_recipe(recipe, &o.trainer));
  return o;
}

Result<SftSummary> run_sft_stage(const SftOptions& options, ThreadPool& pool, const SftStart& start,
                                 const TrainObserver& observer) {
  const std::string path =
      (fs::path(options.trainer.folder) / (options.lora ? "adapter.gguf" : "model.gguf")).string();
  GEIST_TRY(refuse_overwriting(path, {{beside(options.folder, options.from)}}));
  GEIST_ASSIGN(gguf::File file, open_base(options));
  const gguf::Metadata metadata = file.metadata();
  GEIST_ASSIGN(TrainedModel trained,
               options.lora
                   ? TrainedModel::make_adapter(std::move(file), *options.lora, options.seed)
                   : TrainedModel::make(file));
  GEIST_ASSIGN(const int64_t context,
               row_context(options.context, trained.model().config().context_length));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(metadata));
  GEIST_ASSIGN(const ChatEncoder encoder,
               ChatEncoder::create(metadata, tokenizer, options.data.unix_time_s));
  GEIST_ASSIGN(const ChatData data, load_chat_data(options.data, options.folder, encoder, context));

  ChatPacker packer(data.train, context, options.seed, true);
  TrainSource source{.row = [&](int64_t row, auto* out) { packer.row(row, out); }};
  take_validation(data.validation, options.data.validation_sequences, &source);
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, options.trainer.optimizer, pool));
  const int64_t batch_rows = options.trainer.batch_rows;
  SftSummary summary;
  summary.parameters = trained.parameter_count();
  summary.conversations = data.conversations;
  summary.sequences = static_cast<int64_t>(data.train.size() + data.validation.size());
  summary.dropped = data.dropped;
  summary.truncated = data.truncated;
  summary.learned_tokens = ChatData::learned(data.train);
  summary.validation_tokens = ChatData::learned(data.validation);
  summary.epoch_steps = (packer.rows_of_first_epoch() + batch_rows - 1) / batch_rows;
  start(summary, trained.hash());
  TrainerOptions trainer = options.trainer;
  trainer.facts = facts_of(summary);
  trainer.validate_first = true;
  GEIST_ASSIGN(summary.result, run_training(trained, optimizer, source, trainer, pool, observer));
  summary.weights_sha256 = trained.hash();
  if (!summary.result.finished) return summary;
  summary.model_path = path;
  GEIST_TRY(save_result(trained, path, optimizer.averaged()));
  return summary;
}

}  // namespace geist::train
