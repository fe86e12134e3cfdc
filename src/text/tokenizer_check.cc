#include "text/tokenizer_check.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "base/unicode.h"
#include "text/spm.h"

namespace geist::text {
namespace {

// Tokens that end a turn, known by their text: files name one EOS, models use several.
constexpr std::string_view kEndTexts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

// Fill-in-the-middle padding, repository and file marks end generation too.
constexpr std::string_view kEndOfFileTexts[] = {
    "<|fim_pad|>",   "<fim-pad>",  "<fim_pad>", "<PAD>",      "[PAD]",        "<|fim_repo|>",
    "<|repo_name|>", "<fim-repo>", "<REPO>",    "<reponame>", "<|file_sep|>",
};

constexpr std::string_view kFillTexts[] = {
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "\xE2\x96\x81<PRE>",
    "<|code_prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<SUF>",
    "\xE2\x96\x81<SUF>",
    "<|code_suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<MID>",
    "\xE2\x96\x81<MID>",
    "<|code_middle|>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81"
    "begin\xEF\xBD\x9C>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81hole\xEF\xBD\x9C>",
    "<\xEF\xBD\x9C"
    "fim\xE2\x96\x81"
    "end\xEF\xBD\x9C>",
};

template <size_t n>
bool is_one_of(const std::string_view (&texts)[n], std::string_view text) {
  return std::find(std::begin(texts), std::end(texts), text) != std::end(texts);
}

bool holds(const Vocabulary& vocabulary, std::string_view text) {
  return std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), text) !=
         vocabulary.tokens.end();
}

Status check_sizes(const Vocabulary& v) {
  const size_t count = v.tokens.size();
  if (count == 0)
    return errorf(
        "tokenizer: the vocabulary is empty; the file is damaged or not a language model");
  if (count > kTokensMax || v.merges.size() > kTokensMax)
    return errorf("tokenizer: %zu tokens and %zu merges; at most %zu of each are supported", count,
                  v.merges.size(), kTokensMax);
  if (!v.scores.empty() && v.scores.size() < count)
    return errorf("tokenizer: %zu scores for %zu tokens; the file is damaged", v.scores.size(),
                  count);
  if (!v.types.empty() && v.types.size() < count)
    return errorf("tokenizer: %zu token types for %zu tokens; the file is damaged", v.types.size(),
                  count);
  size_t bytes = 0;
  for (const std::string& token : v.tokens) bytes += token.size();
  for (const std::string& merge : v.merges) bytes += merge.size();
  if (bytes > kTokenBytesMax)
    return errorf("tokenizer: the vocabulary has %zu bytes; at most %zu are supported", bytes,
                  kTokenBytesMax);
  return {};
}

Status check_ids(const Vocabulary& v) {
  const auto count = static_cast<TokenId>(v.tokens.size());
  const std::pair<const char*, TokenId> ids[] = {{"BOS", v.bos}, {"EOS", v.eos}, {"EOT", v.eot},
                                                 {"EOM", v.eom}, {"UNK", v.unk}, {"SEP", v.sep},
                                                 {"PAD", v.pad}, {"CLS", v.cls}, {"MASK", v.mask}};
  for (const auto& [name, id] : ids)
    if (id < -1 || id >= count)
      return errorf(
          "tokenizer: the %s token is %d, but the vocabulary ends at %d; the file is damaged", name,
          id, count - 1);
  for (const std::vector<TokenId>* list : {&v.lstrip, &v.rstrip})
    for (const TokenId id : *list)
      if (id < 0 || id >= count)
        return errorf("tokenizer: token %d is to strip spaces, but the vocabulary ends at %d", id,
                      count - 1);
  const std::pair<const char*, std::pair<bool, TokenId>> wanted[] = {
      {"BOS", {v.add_bos, v.bos}}, {"EOS", {v.add_eos, v.eos}}, {"SEP", {v.add_sep, v.sep}}};
  for (const auto& [name, want] : wanted)
    if (want.first && want.second < 0)
      return errorf(
          "tokenizer: a %s token is to be added, but the vocabulary names none; the file is "
          "damaged",
          name);
  return {};
}

Status check_tokens(const Vocabulary& v) {
  for (size_t i = 0; i < v.types.size() && i < v.tokens.size(); ++i) {
    const auto type = static_cast<unsigned>(v.types[i]);
    const std::string& text = v.tokens[i];
    if (v.types[i] == TokenType::kByte && parse_byte_token(text) < 0)
      return errorf("tokenizer: token %zu, '%s', should be a byte like <0x0A>; the file is damaged",
                    i, shown(text).c_str());
    const bool special = v.types[i] == TokenType::kControl || v.types[i] == TokenType::kUserDefined;
    if (special && text.size() > kSpecialTokenBytesMax)
      return errorf("tokenizer: special token %zu has %zu bytes; at most %zu are supported", i,
                    text.size(), kSpecialTokenBytesMax);
    if (type > static_cast<unsigned>(TokenType::kByte))
      return errorf("tokenizer: token %zu has the unknown type %u; the file is damaged", i, type);
  }
  return {};
}

}  // namespace

std::string shown(std::string_view text, size_t size_max) {
  if (text.size() > size_max) text = text.substr(0, complete_utf8_prefix(text.substr(0, size_max)));
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    if (!point.valid || is_control(point.value)) {
      out += '?';
    } else {
      out += text.substr(i, point.length);
    }
    i += point.length;
  }
  return out;
}

Status check_vocabulary(Vocabulary& v) {
  GEIST_TRY(check_sizes(v));
  for (size_t i = 0; i < v.tokens.size(); ++i)
    if (v.tokens[i].empty()) v.tokens[i] = "[EMPTY_" + std::to_string(i) + "]";
  GEIST_TRY(check_ids(v));
  return check_tokens(v);
}

std::vector<TokenType> effective_types(const Vocabulary& v) {
  std::vector<TokenType> types(
      v.types.begin(),
      v.types.begin() + static_cast<ptrdiff_t>(v.types.empty() ? 0 : v.tokens.size()));
  types.resize(v.tokens.size(), TokenType::kNormal);
  // A vocabulary that says nothing about types may still have byte tokens.
  const bool silent = v.types.empty() && v.kind == TokenizerKind::kSentencePiece;
  for (size_t i = 0; i < types.size(); ++i) {
    const std::string& text = v.tokens[i];
    if (static_cast<uint8_t>(types[i]) == 0) types[i] = TokenType::kNormal;  // "undefined"
    if (silent && parse_byte_token(text) >= 0) types[i] = TokenType::kByte;
    if (text.size() <= 40 && (is_one_of(kEndTexts, text) || is_one_of(kEndOfFileTexts, text) ||
                              is_one_of(kFillTexts, text)))
      types[i] = TokenType::kControl;
  }
  return types;
}

std::vector<bool> end_tokens(const Vocabulary& v) {
  std::vector<bool> ends(v.tokens.size());
  // gpt-oss ends a turn with <|return|> or <|call|>, and <|end|> only closes a message.
  const bool harmony = holds(v, "<|end|>") && ((holds(v, "<|return|>") && holds(v, "<|call|>")) ||
                                               (holds(v, "<|flush|>") && holds(v, "<|calls|>")));
  const bool tool_response = holds(v, "<|tool_response>");  // there </s> is an ordinary token
  for (size_t i = 0; i < ends.size(); ++i) {
    const std::string& text = v.tokens[i];
    if (text.size() > 40 || (harmony && text == "<|end|>") || (tool_response && text == "</s>"))
      continue;
    ends[i] = is_one_of(kEndTexts, text) || is_one_of(kEndOfFileTexts, text);
  }
  for (const TokenId id : {v.eos, v.eot, v.eom})
    if (id >= 0) ends[static_cast<size_t>(id)] = true;
  return ends;
}

}  // namespace geist::text
