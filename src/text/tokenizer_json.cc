#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/json_guard.h"
#include "text/pre_tokenizer.h"
#include "text/spm.h"
#include "text/tokenizer.h"
#include "text/tokenizer_check.h"

// Reading Hugging Face's tokenizer.json. Its format is a program of normalizers, pre-tokenizers and
// post-processors; published files use few of the possible ones. Those are recognised and become
// the corresponding Vocabulary; anything else is an error that names it, never a silent
// approximation, with one exception that llama.cpp shares: NFC normalisation is passed over, so
// that decoding gives back the input.

namespace geist::text {
namespace {

using Json = nlohmann::json;

constexpr size_t kJsonBytesMax = size_t{1} << 28;
constexpr int kDepthMax = 64;

Result<Json> parse_object(std::string_view text, const char* name) {
  if (text.size() > kJsonBytesMax)
    return errorf("%s: %zu bytes; at most %zu are supported", name, text.size(), kJsonBytesMax);
  // nlohmann's parser keeps its own stack, but what walks the result recurses.
  if (!json_depth_within(text, kDepthMax))
    return errorf("%s: nested deeper than %d levels; not such a file", name, kDepthMax);
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return errorf("%s: not a JSON object; the file is damaged", name);
  return json;
}

const Json& null_json() {
  static const Json null;
  return null;
}

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) return null_json();
  const auto at = object.find(key);
  return at == object.end() ? null_json() : *at;
}

std::string string_or(const Json& json, std::string fallback) {
  return json.is_string() ? json.get<std::string>() : std::move(fallback);
}
bool bool_or(const Json& json, bool fallback) {
  return json.is_boolean() ? json.get<bool>() : fallback;
}

std::string type_of(const Json& node) { return string_or(member(node, "type"), ""); }

// A node, or the nodes of a Sequence of Sequences, in order.
void flatten(const Json& node, const char* list, std::vector<const Json*>* out) {
  if (node.is_null()) return;
  if (type_of(node) != "Sequence") {
    out->push_back(&node);
    return;
  }
  const Json& nodes = member(node, list);
  if (nodes.is_array())
    for (const Json& child : nodes) flatten(child, list, out);
}

class Reader {
 public:
  Reader(const Json& root, const Json& config)
      : root_(root), config_(config), model_(member(root, "model")) {}

  Result<Vocabulary> read() {
    flatten(member(root_, "normalizer"), "normalizers", &normalizers_);
    flatten(member(root_, "pre_tokenizer"), "pretokenizers", &pre_tokenizers_);
    GEIST_TRY(read_kind());
    GEIST_TRY(read_vocab());
    GEIST_TRY(read_added_tokens());
    GEIST_TRY(fill_holes());
    if (v_.kind != TokenizerKind::kWordPiece) GEIST_TRY(read_merges());
    GEIST_TRY(read_settings());
    if (v_.kind == TokenizerKind::kSentencePiece) score_by_merges();
    read_special_ids();
    read_post_processor();
    return std::move(v_);
  }

 private:
  Status read_kind() {
    const std::string type =
        string_or(member(model_, "type"), model_.contains("merges") ? "BPE" : "");
    const auto is = [](const char* name) {
      return [name](const Json* node) { return type_of(*node) == name; };
    };
    const bool byte_level =
        std::any_of(pre_tokenizers_.begin(), pre_tokenizers_.end(), is("ByteLevel"));
    if (type == "WordPiece") {
      v_.kind = TokenizerKind::kWordPiece;
    } else if (type == "BPE") {
      v_.kind = byte_level ? TokenizerKind::kByteLevelBpe : TokenizerKind::kSentencePiece;
    } else {
      return errorf("tokenizer.json: model type '%s' is not supported: BPE and WordPiece are",
                    shown(type).c_str());
    }
    return {};
  }

  Status place(const std::string& text, const Json& id_json, TokenType type) {
    if (!id_json.is_number_unsigned() &&
        !(id_json.is_number_integer() && id_json.get<int64_t>() >= 0))
      return errorf("tokenizer.json: the id of token '%s' is no number; the file is damaged",
                    shown(text).c_str());
    const auto id = id_json.get<uint64_t>();
    if (id >= kTokensMax)
      return errorf("tokenizer.json: token '%s' has the id %llu; at most %zu are supported",
                    shown(text).c_str(), static_cast<unsigned long long>(id), kTokensMax - 1);
    if (id >= v_.tokens.size()) {
      // Holes are filled with names, so they may not be what a damaged file is mostly made of.
      if (id > 2 * placed_ + (size_t{1} << 17))
        return errorf(
            "tokenizer.json: token '%s' has the id %llu, far beyond all others; the file is "
            "damaged",
            shown(text).c_str(), static_cast<unsigned long long>(id));
      v_.tokens.resize(id + 1);
      v_.types.resize(id + 1, TokenType::kUnused);
    }
    std::string& token = v_.tokens[id];
    if (!token.empty() && token != text)
      return errorf("tokenizer.json: '%s' and '%s' both have the id %llu; the file is damaged",
                    shown(token).c_str(), shown(text).c_str(), static_cast<unsigned long long>(id));
    if (token.empty()) ++placed_;
    token = text;
    v_.types[id] = type;
    return {};
  }

  Status read_vocab() {
    const Json& vocab = member(model_, "vocab");
    if (!vocab.is_object() || vocab.empty())
      return errorf("tokenizer.json: the model has no vocabulary");
    placed_ = vocab.size();  // known beforehand: ids come in any order
    for (const auto& [text, id] : vocab.items()) {
      const bool byte = v_.kind == TokenizerKind::kSentencePiece &&
                        bool_or(member(model_, "byte_fallback"), false) &&
                        parse_byte_token(text) >= 0;
      GEIST_TRY(place(text, id, byte ? TokenType::kByte : TokenType::kNormal));
    }
    return {};
  }

  Status read_added_tokens() {
    const Json& added = member(root_, "added_tokens");
    if (!added.is_array()) return {};
    for (const Json& token : added) {
      const std::string text = string_or(member(token, "content"), "");
      if (text.empty())
        return errorf("tokenizer.json: an added token has no text; the file is damaged");
      const bool special = bool_or(member(token, "special"), false);
      GEIST_TRY(place(text, member(token, "id"),
                      special ? TokenType::kControl : TokenType::kUserDefined));
      const auto id = static_cast<TokenId>(member(token, "id").get<uint64_t>());
      if (bool_or(member(token, "lstrip"), false)) v_.lstrip.push_back(id);
      if (bool_or(member(token, "rstrip"), false)) v_.rstrip.push_back(id);
    }
    return {};
  }

  Status fill_holes() {
    for (size_t i = 0; i < v_.tokens.size(); ++i)
      if (v_.tokens[i].empty()) v_.tokens[i] = "[PAD" + std::to_string(i) + "]";
    if (v_.kind == TokenizerKind::kWordPiece) mark_word_starts();
    ids_.reserve(v_.tokens.size(), 0);
    for (size_t i = 0; i < v_.tokens.size(); ++i)
      ids_.insert(v_.tokens[i], static_cast<TokenId>(i));
    const TokenId unknown = find(member(model_, "unk_token"));
    if (unknown >= 0 && v_.kind == TokenizerKind::kSentencePiece)
      v_.types[static_cast<size_t>(unknown)] = TokenType::kUnknown;
    v_.unk = unknown;
    return {};
  }

  // "word" and "##piece" become "▁word" and "piece".
  void mark_word_starts() {
    const std::string prefix = string_or(member(model_, "continuing_subword_prefix"), "##");
    for (size_t i = 0; i < v_.tokens.size(); ++i) {
      if (v_.types[i] != TokenType::kNormal) continue;
      std::string& token = v_.tokens[i];
      token = !prefix.empty() && token.size() > prefix.size() && token.starts_with(prefix)
                  ? token.substr(prefix.size())
                  : std::string(kSpaceMark) + token;
    }
  }

  Status read_merges() {
    const Json& merges = member(model_, "merges");
    if (!merges.is_array())
      return errorf("tokenizer.json: the BPE model has no merges; the file is damaged");
    v_.merges.reserve(merges.size());
    for (const Json& merge : merges) {
      const bool pair =
          merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
      if (!pair && !merge.is_string())
        return errorf(
            "tokenizer.json: merge %zu is neither a string nor a pair; the file is damaged",
            v_.merges.size());
      if (!pair) {
        v_.merges.push_back(merge.get<std::string>());
        continue;
      }
      const std::string left = merge[0].get<std::string>(), right = merge[1].get<std::string>();
      if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
        return errorf("tokenizer.json: merge %zu has a space inside; that is not supported",
                      v_.merges.size());
      v_.merges.push_back(left + " " + right);
    }
    return {};
  }

  Status read_settings() {
    switch (v_.kind) {
      case TokenizerKind::kByteLevelBpe:
        return read_byte_level();
      case TokenizerKind::kSentencePiece:
        return read_metaspace();
      case TokenizerKind::kWordPiece:
        return read_bert();
    }
    return {};
  }

  Status read_byte_level() {
    v_.add_space_prefix = false;
    v_.ignore_merges = bool_or(member(model_, "ignore_merges"), false);
    for (const Json* node : normalizers_)
      if (type_of(*node) != "NFC") return unsupported("normalizer", *node);
    std::vector<std::string> patterns;
    for (const Json* node : pre_tokenizers_) GEIST_TRY(read_pattern(*node, &patterns));
    v_.pre = PreTokenizer::name_of_patterns(patterns);
    if (!v_.pre.empty()) return {};
    std::string all;
    for (const std::string& pattern : patterns) all += (all.empty() ? "" : "  then  ") + pattern;
    return errorf(
        "tokenizer.json: the pre-tokenizer '%s' is not known; a newer geist may support it",
        shown(all, 300).c_str());
  }

  // A pre-tokenizer as the regular expression of its pieces.
  static Status read_pattern(const Json& node, std::vector<std::string>* patterns) {
    const std::string type = type_of(node);
    if (type == "ByteLevel") {
      if (bool_or(member(node, "add_prefix_space"), false))
        return unsupported("pre_tokenizer with add_prefix_space", node);
      if (bool_or(member(node, "use_regex"), true))
        patterns->push_back(
            R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
    } else if (type == "Digits") {
      patterns->push_back(bool_or(member(node, "individual_digits"), false) ? "\\p{N}" : "\\p{N}+");
    } else if (type == "Punctuation") {
      patterns->push_back("[punctuation]");
    } else if (type == "Split" && member(member(node, "pattern"), "Regex").is_string()) {
      // A pattern that covers everything says the same by removing what lies between.
      const std::string behavior = string_or(member(node, "behavior"), "");
      const bool isolates = behavior == "Isolated" ||
                            (behavior == "Removed" && bool_or(member(node, "invert"), false));
      if (!isolates) return unsupported("pre_tokenizer", node);
      patterns->push_back(member(member(node, "pattern"), "Regex").get<std::string>());
    } else {
      return unsupported("pre_tokenizer", node);
    }
    return {};
  }

  static Status unsupported(const char* what, const Json& node) {
    const std::string text = node.dump(-1, ' ', true, Json::error_handler_t::replace);
    return errorf("tokenizer.json: the %s %s is not supported", what, shown(text, 200).c_str());
  }

  // Spaces become U+2581 in a normalizer or in a Metaspace pre-tokenizer.
  Status read_metaspace() {
    v_.add_space_prefix = false;
    bool marks_spaces = false;
    for (const Json* node : normalizers_) {
      const std::string type = type_of(*node);
      if (type == "Prepend" && member(*node, "prepend") == kSpaceMark) {
        v_.add_space_prefix = true;
      } else if (type == "Replace" && member(member(*node, "pattern"), "String") == " " &&
                 member(*node, "content") == kSpaceMark) {
        marks_spaces = true;
      } else if (type != "NFC") {
        return unsupported("normalizer", *node);
      }
    }
    for (const Json* node : pre_tokenizers_) {
      const std::string type = type_of(*node);
      if (type == "Metaspace" &&
          string_or(member(*node, "replacement"), std::string(kSpaceMark)) == kSpaceMark) {
        marks_spaces = true;
        const std::string scheme = string_or(member(*node, "prepend_scheme"), "always");
        v_.add_space_prefix |=
            scheme != "never" && bool_or(member(*node, "add_prefix_space"), true);
      } else if (!(type == "Split" && member(member(*node, "pattern"), "String") == " ")) {
        return unsupported("pre_tokenizer",
                           *node);  // the Split finds no space any more and does nothing
      }
    }
    if (!marks_spaces)
      return errorf(
          "tokenizer.json: a BPE model that is neither byte-level nor marks spaces is not "
          "supported");
    return {};
  }

  Status read_bert() {
    v_.add_space_prefix = false;
    v_.add_bos = v_.add_sep = true;
    v_.clean_up_spaces = bool_or(member(config_, "clean_up_tokenization_spaces"), true);
    v_.lowercase = v_.strip_accents = false;
    for (const Json* node : normalizers_) {
      if (type_of(*node) != "BertNormalizer") return unsupported("normalizer", *node);
      v_.lowercase = bool_or(member(*node, "lowercase"), true);
      v_.strip_accents = bool_or(member(*node, "strip_accents"), v_.lowercase);
    }
    for (const Json* node : pre_tokenizers_)
      if (type_of(*node) != "BertPreTokenizer") return unsupported("pre_tokenizer", *node);
    return {};
  }

  // A token's score is the rank of its first merge: then the highest score merges first, as the
  // merges say. Tokens of several characters that no merge makes never come out of merging.
  void score_by_merges() {
    v_.scores.assign(v_.tokens.size(), -std::numeric_limits<float>::infinity());
    for (size_t rank = 0; rank < v_.merges.size(); ++rank) {
      std::string joined = v_.merges[rank];
      const size_t space = joined.find(' ', 1);
      if (space == std::string::npos) continue;
      const TokenId id = ids_.find(joined.erase(space, 1));
      if (id < 0) continue;
      float& score = v_.scores[static_cast<size_t>(id)];
      if (!std::isfinite(score)) score = -static_cast<float>(rank);
    }
    v_.merges.clear();
  }

  TokenId find(const Json& token) const {
    if (token.is_string()) return ids_.find(token.get_ref<const std::string&>());
    return token.is_object() ? find(member(token, "content")) : -1;
  }

  void read_special_ids() {
    const std::pair<const char*, TokenId*> ids[] = {{"bos_token", &v_.bos},  {"eos_token", &v_.eos},
                                                    {"unk_token", &v_.unk},  {"sep_token", &v_.sep},
                                                    {"pad_token", &v_.pad},  {"cls_token", &v_.cls},
                                                    {"mask_token", &v_.mask}};
    for (const auto& [name, id] : ids)
      if (const TokenId found = find(member(config_, name)); found >= 0) *id = found;
    if (v_.kind == TokenizerKind::kWordPiece) {
      if (v_.cls < 0) v_.cls = ids_.find("[CLS]");
      if (v_.sep < 0) v_.sep = ids_.find("[SEP]");
      v_.bos = v_.cls;
      v_.add_bos = v_.bos >= 0;
      v_.add_sep = v_.sep >= 0;
      return;
    }
    for (const char* text : {"</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>"})
      if (v_.eos < 0) v_.eos = ids_.find(text);
  }

  // TemplateProcessing puts special tokens before and behind the text.
  void read_post_processor() {
    if (v_.kind == TokenizerKind::kWordPiece) return;
    std::vector<const Json*> nodes;
    flatten(member(root_, "post_processor"), "processors", &nodes);
    for (const Json* node : nodes) {
      const Json& single = member(*node, "single");
      if (type_of(*node) != "TemplateProcessing" || !single.is_array()) continue;
      bool behind = false;
      for (const Json& part : single) {
        behind |= !member(part, "Sequence").is_null();
        const TokenId id = find(member(member(part, "SpecialToken"), "id"));
        if (id < 0) continue;
        (behind ? v_.eos : v_.bos) = id;
        (behind ? v_.add_eos : v_.add_bos) = true;
      }
    }
    v_.add_bos = bool_or(member(config_, "add_bos_token"), v_.add_bos) && v_.bos >= 0;
    v_.add_eos = bool_or(member(config_, "add_eos_token"), v_.add_eos) && v_.eos >= 0;
  }

  const Json& root_;
  const Json& config_;
  const Json& model_;
  std::vector<const Json*> normalizers_, pre_tokenizers_;
  size_t placed_ = 0;
  TokenTable ids_;
  Vocabulary v_;
};

}  // namespace

Result<Vocabulary> vocabulary_from_tokenizer_json(std::string_view json, std::string_view config) {
  GEIST_ASSIGN(const Json root, parse_object(json, "tokenizer.json"));
  Json settings;
  if (!config.empty()) {
    GEIST_ASSIGN(settings, parse_object(config, "tokenizer_config.json"));
  }
  return Reader(root, settings).read();
}

Result<Tokenizer> Tokenizer::from_tokenizer_json(std::string_view json, std::string_view config) {
  GEIST_ASSIGN(Vocabulary vocabulary, vocabulary_from_tokenizer_json(json, config));
  return create(std::move(vocabulary));
}

}  // namespace geist::text
