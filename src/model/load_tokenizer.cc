#include "model/load_tokenizer.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "text/pre_tokenizer.h"
#include "text/tokenizer_check.h"

// From GGUF's tokenizer.ggml.* keys to a Vocabulary. What files leave out has a default by the kind
// of vocabulary; the defaults are those that the files were written against.

namespace geist::model {
namespace {

using text::TokenId;
using text::TokenizerKind;
using text::Vocabulary;

constexpr std::string_view kPrefix = "tokenizer.ggml.";

std::string key_of(std::string_view name) { return std::string(kPrefix).append(name); }

Status read_kind(const gguf::Metadata& metadata, Vocabulary* v) {
  GEIST_ASSIGN(const std::optional<std::string> model, gguf::get_string(metadata, key_of("model")));
  GEIST_ASSIGN(const std::optional<std::string> pre, gguf::get_string(metadata, key_of("pre")));
  if (!model) return errorf("tokenizer.ggml.model is missing; the file holds no tokenizer");
  v->pre = pre.value_or("");
  if (*model == "llama") {
    v->kind = TokenizerKind::kSentencePiece;
    v->bos = 1, v->eos = 2, v->unk = 0;
    v->add_bos = true;
  } else if (*model == "gpt2") {
    v->kind = TokenizerKind::kByteLevelBpe;
    v->bos = v->eos = 11;
    if (v->pre == "chatglm-bpe" || v->pre == "glm4") v->bos = -1;
    v->add_bos = text::PreTokenizer::adds_bos(v->pre);
    v->ignore_merges = text::PreTokenizer::ignores_merges(v->pre);
    v->add_space_prefix = false;
  } else if (*model == "bert") {
    v->kind = TokenizerKind::kWordPiece;
    v->bos = v->cls = 101, v->unk = 100, v->sep = 102, v->pad = 0, v->mask = 103;
    v->add_bos = v->add_sep = v->clean_up_spaces = true;
    v->add_space_prefix = false;
  } else {
    return errorf("tokenizer.ggml.model '%s' is not supported: llama, gpt2 and bert are",
                  text::shown(*model).c_str());
  }
  return {};
}

Status read_tokens(const gguf::Metadata& metadata, Vocabulary* v) {
  GEIST_ASSIGN(const std::vector<std::string>* tokens,
               gguf::get_strings(metadata, key_of("tokens")));
  if (tokens == nullptr) return errorf("tokenizer.ggml.tokens is missing; the file is damaged");
  v->tokens = *tokens;
  GEIST_ASSIGN(const std::vector<std::string>* merges,
               gguf::get_strings(metadata, key_of("merges")));
  if (merges != nullptr) v->merges = *merges;
  if (merges == nullptr && v->kind == TokenizerKind::kByteLevelBpe)
    return errorf("tokenizer.ggml.merges is missing; the file is damaged");
  GEIST_ASSIGN(std::optional<std::vector<float>> scores,
               gguf::get_floats(metadata, key_of("scores")));
  if (scores) v->scores = std::move(*scores);
  GEIST_ASSIGN(const std::optional<std::vector<int64_t>> types,
               gguf::get_ints(metadata, key_of("token_type")));
  if (!types) return {};
  v->types.reserve(types->size());
  for (const int64_t type : *types) {
    // 0 is "undefined" and says nothing.
    if (type < 0 || type > 6)
      return errorf("tokenizer.ggml.token_type has the unknown type %lld; the file is damaged",
                    static_cast<long long>(type));
    v->types.push_back(type == 0 ? text::TokenType::kNormal : static_cast<text::TokenType>(type));
  }
  return {};
}

// Files name ids that do not exist often enough (padding above all) that such a key is passed over
// and the default kept, if that exists.
Status read_id(const gguf::Metadata& metadata, std::string_view name, size_t count, TokenId* id) {
  GEIST_ASSIGN(const std::optional<int64_t> value, gguf::get_int(metadata, key_of(name)));
  const auto exists = [count](int64_t i) { return i >= 0 && static_cast<uint64_t>(i) < count; };
  if (!exists(*id)) *id = -1;
  if (value && exists(*value)) *id = static_cast<TokenId>(*value);
  return {};
}

Status read_ids(const gguf::Metadata& metadata, Vocabulary* v) {
  const std::pair<const char*, TokenId*> ids[] = {
      {"bos_token_id", &v->bos},     {"eos_token_id", &v->eos},     {"eot_token_id", &v->eot},
      {"eom_token_id", &v->eom},     {"unknown_token_id", &v->unk}, {"seperator_token_id", &v->sep},
      {"padding_token_id", &v->pad}, {"cls_token_id", &v->cls},     {"mask_token_id", &v->mask}};
  for (const auto& [name, id] : ids) GEIST_TRY(read_id(metadata, name, v->tokens.size(), id));
  return {};
}

Status read_flag(const gguf::Metadata& metadata, std::string_view name, bool* flag) {
  GEIST_ASSIGN(const std::optional<bool> value, gguf::get_bool(metadata, key_of(name)));
  *flag = value.value_or(*flag);
  return {};
}

Status read_flags(const gguf::Metadata& metadata, Vocabulary* v) {
  GEIST_TRY(read_flag(metadata, "add_bos_token", &v->add_bos));
  GEIST_TRY(read_flag(metadata, "add_eos_token", &v->add_eos));
  GEIST_TRY(read_flag(metadata, "add_sep_token", &v->add_sep));
  GEIST_TRY(read_flag(metadata, "add_space_prefix", &v->add_space_prefix));
  GEIST_TRY(read_flag(metadata, "remove_extra_whitespaces", &v->remove_extra_whitespaces));
  GEIST_TRY(read_flag(metadata, "normalizer.lowercase", &v->lowercase));
  v->strip_accents = v->lowercase;
  return read_flag(metadata, "normalizer.strip_accents", &v->strip_accents);
}

// Which special tokens take white space with them is not in the file; it is known for some models
// by name.
Status set_strips(const gguf::Metadata& metadata, Vocabulary* v) {
  GEIST_ASSIGN(const std::optional<std::string> name, gguf::get_string(metadata, "general.name"));
  std::string lower = name.value_or("");
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool phi3 =
      lower.find("phi-3") != std::string::npos || lower.find("phi3") != std::string::npos;
  const std::string_view mask = v->pre.starts_with("jina-v2-")                   ? "<mask>"
                                : lower.find("modern-bert") != std::string::npos ? "[MASK]"
                                                                                 : "";
  for (size_t i = 0; i < v->tokens.size(); ++i) {
    const std::string& token = v->tokens[i];
    const text::TokenType type = i < v->types.size() ? v->types[i] : text::TokenType::kNormal;
    const bool special = type == text::TokenType::kControl ||
                         type == text::TokenType::kUserDefined || type == text::TokenType::kUnknown;
    if (!mask.empty() && token == mask) v->lstrip.push_back(static_cast<TokenId>(i));
    if (phi3 && (special || token == "</s>") && token != "<unk>" && token != "<s>" &&
        token != "<|endoftext|>")
      v->rstrip.push_back(static_cast<TokenId>(i));
  }
  return {};
}

}  // namespace

Result<text::Tokenizer> load_tokenizer(const gguf::Metadata& metadata) {
  Vocabulary v;
  GEIST_TRY(read_kind(metadata, &v));
  GEIST_TRY(read_tokens(metadata, &v));
  GEIST_TRY(read_ids(metadata, &v));
  GEIST_TRY(read_flags(metadata, &v));
  GEIST_TRY(set_strips(metadata, &v));
  return text::Tokenizer::create(std::move(v));
}

Result<std::optional<std::string>> load_chat_template(const gguf::Metadata& metadata) {
  return gguf::get_string(metadata, "tokenizer.chat_template");
}

}  // namespace geist::model
