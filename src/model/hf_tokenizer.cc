#include "model/hf_tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json_guard.h"
#include "base/unicode.h"
#include "model/hf_config.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using text::TokenId;
using text::TokenizerKind;
using text::Vocabulary;

constexpr size_t kJsonBytesMax = size_t{256} << 20;
constexpr size_t kTemplateBytesMax = size_t{4} << 20;
constexpr int kDepthMax = 64;

// The file's text; empty when it is not there.
Result<std::string> read_if_there(const fs::path& path, size_t size_max) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::string();
  return read_file(path.string(), size_max);
}

// The ids of a token as the model's own configuration gives them.
Result<std::vector<int64_t>> configured_ids(const fs::path& folder, const char* name) {
  for (const char* file : {"generation_config.json", "config.json"}) {
    GEIST_ASSIGN(const std::string text, read_if_there(folder / file, kJsonBytesMax));
    if (text.empty()) continue;
    GEIST_ASSIGN(const HfConfig config, HfConfig::parse(text, (folder / file).string()));
    const std::vector<int64_t> ids = config.integers({name});
    GEIST_TRY(config.status());
    if (!ids.empty()) return ids;
  }
  return std::vector<int64_t>();
}

// The tokenizer's own word on BOS and EOS stands; the model's fills in, and a second end becomes
// EOT.
Status complete_ids(const fs::path& folder, Vocabulary* v) {
  const auto exists = [&](int64_t id) {
    return id >= 0 && id < static_cast<int64_t>(v->tokens.size());
  };
  GEIST_ASSIGN(const std::vector<int64_t> bos, configured_ids(folder, "bos_token_id"));
  if (v->bos < 0 && !bos.empty() && exists(bos[0])) v->bos = static_cast<TokenId>(bos[0]);
  GEIST_ASSIGN(const std::vector<int64_t> eos, configured_ids(folder, "eos_token_id"));
  for (const int64_t id : eos) {
    if (!exists(id)) continue;
    if (v->eos < 0) v->eos = static_cast<TokenId>(id);
    if (v->eot < 0 && id != v->eos) v->eot = static_cast<TokenId>(id);
  }
  return {};
}

// One token a row of the embedding: missing ones are named and marked as unused.
Status fit_to_rows(int64_t rows, const std::string& folder, Vocabulary* v) {
  if (static_cast<int64_t>(v->tokens.size()) > rows) {
    // Tokens without a row cannot be used; published models have a few (of other modalities).
    const auto has_row = [&](TokenId id) { return id < rows; };
    for (const TokenId id : {v->bos, v->eos})
      if (!has_row(id))
        return errorf("%s: token %d has no row in the embedding", folder.c_str(), id);
    for (TokenId* id : {&v->eot, &v->unk, &v->sep, &v->pad, &v->cls, &v->mask})
      if (!has_row(*id)) *id = -1;
  }
  if (v->types.empty()) v->types.assign(v->tokens.size(), text::TokenType::kNormal);
  const auto count = static_cast<size_t>(rows);
  for (size_t i = v->tokens.size(); i < count; ++i)
    v->tokens.push_back("[PAD" + std::to_string(i) + "]");
  v->tokens.resize(count);
  v->types.resize(count, text::TokenType::kUnused);
  if (!v->scores.empty()) v->scores.resize(count, -1000.0f);
  return {};
}

// tokenizer_config.json's chat_template: a string, or a list of named ones of which "default" is
// meant.
Result<std::string> template_in_config(const std::string& text, const std::string& file) {
  if (text.empty()) return std::string();
  if (!json_depth_within(text, kDepthMax))
    return errorf("%s: nested too deep; download it again", file.c_str());
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return errorf("%s: not a JSON object; download it again", file.c_str());
  const auto entry = json.find("chat_template");
  if (entry == json.end() || entry->is_null()) return std::string();
  if (entry->is_string()) return entry->get<std::string>();
  if (entry->is_array())
    for (const Json& item : *entry) {
      if (!item.is_object()) continue;
      const auto name = item.find("name"), body = item.find("template");
      if (name != item.end() && *name == "default" && body != item.end() && body->is_string())
        return body->get<std::string>();
    }
  return errorf("%s: \"chat_template\" is neither a string nor a list with a \"default\" one",
                file.c_str());
}

}  // namespace

void write_vocabulary(const Vocabulary& v, gguf::Metadata* metadata) {
  const auto set = [&](const char* name, gguf::Value value) {
    metadata->insert_or_assign(std::string("tokenizer.ggml.") + name, std::move(value));
  };
  const bool spm = v.kind == TokenizerKind::kSentencePiece,
             bert = v.kind == TokenizerKind::kWordPiece;
  set("model", gguf::Value::string(spm ? "llama" : bert ? "bert" : "gpt2"));
  set("pre", gguf::Value::string(v.pre.empty() ? "default" : v.pre));
  set("tokens", gguf::Value::strings(v.tokens));
  if (!v.scores.empty()) set("scores", gguf::Value::f32s(v.scores));
  std::vector<int32_t> types;
  for (const text::TokenType type : v.types) types.push_back(static_cast<int32_t>(type));
  if (!types.empty()) set("token_type", gguf::Value::i32s(std::move(types)));
  if (v.kind == TokenizerKind::kByteLevelBpe) set("merges", gguf::Value::strings(v.merges));
  const std::pair<const char*, TokenId> ids[] = {
      {"bos_token_id", v.bos},     {"eos_token_id", v.eos},       {"eot_token_id", v.eot},
      {"unknown_token_id", v.unk}, {"seperator_token_id", v.sep}, {"padding_token_id", v.pad},
      {"cls_token_id", v.cls},     {"mask_token_id", v.mask}};
  for (const auto& [name, id] : ids)
    if (id >= 0) set(name, gguf::Value::u32(static_cast<uint32_t>(id)));
  set("add_bos_token", gguf::Value::boolean(v.add_bos));
  set("add_eos_token", gguf::Value::boolean(v.add_eos));
  if (v.add_sep) set("add_sep_token", gguf::Value::boolean(true));
  if (spm) set("add_space_prefix", gguf::Value::boolean(v.add_space_prefix));
  if (v.remove_extra_whitespaces) set("remove_extra_whitespaces", gguf::Value::boolean(true));
  if (bert) {
    set("normalizer.lowercase", gguf::Value::boolean(v.lowercase));
    set("normalizer.strip_accents", gguf::Value::boolean(v.strip_accents));
  }
}

Status add_hf_tokenizer(const std::string& folder_name, int64_t embedding_rows,
                        gguf::Metadata* metadata) {
  const fs::path folder(folder_name);
  GEIST_ASSIGN(const std::string json, read_if_there(folder / "tokenizer.json", kJsonBytesMax));
  if (json.empty())
    return errorf(
        "%s: tokenizer.json is missing; save the tokenizer in its fast form (tokenizer.json) "
        "beside the model",
        folder_name.c_str());
  const fs::path config_path = folder / "tokenizer_config.json";
  GEIST_ASSIGN(const std::string config, read_if_there(config_path, kJsonBytesMax));
  auto vocabulary = text::vocabulary_from_tokenizer_json(json, config);
  if (!vocabulary.ok())
    return errorf("%s: %s", folder_name.c_str(), vocabulary.error().message.c_str());
  GEIST_TRY(complete_ids(folder, &*vocabulary));
  GEIST_TRY(fit_to_rows(embedding_rows, folder_name, &*vocabulary));
  write_vocabulary(*vocabulary, metadata);

  GEIST_ASSIGN(std::string chat_template,
               read_if_there(folder / "chat_template.jinja", kTemplateBytesMax));
  if (chat_template.empty()) {
    GEIST_ASSIGN(chat_template, template_in_config(config, config_path.string()));
  }
  if (!chat_template.empty())
    metadata->insert_or_assign("tokenizer.chat_template",
                               gguf::Value::string(std::move(chat_template)));
  return {};
}

}  // namespace geist::model
