#include "text/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/spm.h"
#include "text/tokenizer_check.h"
#include "text/tokenizer_special.h"
#include "text/wordpiece.h"

// The frame around the three models: a text is first cut at special tokens, and each fragment
// between them is encoded by the model. English repeats itself, so words are looked up in a cache
// that lives for one call and keeps only references: to the word in the input and to its tokens in
// the output.

namespace geist::text {
namespace {

constexpr size_t kWordBytesMax = size_t{1}
                                 << 30;  // longer words are cut, so that 32 bits index their bytes

bool is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Encodes words through the cache.
template <typename Model>
class WordEncoder {
 public:
  WordEncoder(const Model& model, size_t text_bytes, std::vector<TokenId>& out)
      : model_(model), cache_(text_bytes), out_(out) {}

  // `word` must stay in place for the life of this object.
  void encode(std::string_view word) {
    if (word.size() > WordCache::kWordBytesMax) return encode_uncached(word);
    bool hit = false;
    WordCache::Entry& entry = cache_.find(word, &hit);
    if (hit) return copy(entry);
    const size_t first = out_.size();
    model_.encode_word(word, merger_, out_);
    entry.count = static_cast<uint16_t>(out_.size() - first);  // no more tokens than bytes
    if (entry.count <= WordCache::kIdsMax) {
      for (size_t i = 0; i < entry.count; ++i)
        entry.ids[i] = static_cast<uint32_t>(out_[first + i]);
    } else {
      entry.ids[0] = static_cast<uint32_t>(first);
      entry.ids[1] = static_cast<uint32_t>(uint64_t{first} >> 32);
    }
  }

  void encode_uncached(std::string_view word) {
    for (; word.size() > kWordBytesMax; word.remove_prefix(kWordBytesMax))
      model_.encode_word(word.substr(0, kWordBytesMax), merger_, out_);
    model_.encode_word(word, merger_, out_);
  }

 private:
  void copy(const WordCache::Entry& entry) {
    if (entry.count <= WordCache::kIdsMax) {
      for (size_t i = 0; i < entry.count; ++i) out_.push_back(static_cast<TokenId>(entry.ids[i]));
    } else {
      for (size_t i = 0; i < entry.count; ++i) out_.push_back(TokenId{out_[entry.first() + i]});
    }
  }

  const Model& model_;
  WordCache cache_;
  Merger merger_;
  std::vector<TokenId>& out_;
};

// The text of a piece of WordPiece output as people write it: no space before . , ! ? and 's 'm 're
// 've.
std::string clean_up(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    const bool joins = rest.size() > 1 && rest[0] == ' ' &&
                       (rest[1] == '.' || rest[1] == ',' || rest[1] == '!' || rest[1] == '?' ||
                        rest.starts_with(" 's") || rest.starts_with(" 'm") ||
                        rest.starts_with(" 're") || rest.starts_with(" 've"));
    if (!joins) out += text[i];
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  std::vector<TokenType> types;
  std::vector<bool> ends;
  TokenTable ids;                  // by text as stored
  std::vector<std::string> bytes;  // what each token decodes to
  std::vector<bool> visible;       // control tokens whose text is part of the output (gpt-oss)
  SpecialMatcher user_defined, control, all_special;
  std::vector<bool> lstrip, rstrip;
  std::optional<BpeModel> bpe;
  std::optional<PreTokenizer> pre;
  std::optional<SpmModel> spm;
  std::optional<WordPieceModel> wordpiece;

  Status build();
  Status build_model();
  void build_specials();
  std::string bytes_of(size_t id) const;
  bool hidden(size_t id) const {
    return types[id] == TokenType::kUnknown || (types[id] == TokenType::kControl && !visible[id]);
  }

  SpecialMatcher::Match next_special(std::string_view text, size_t from,
                                     const EncodeOptions& options) const;
  template <typename Fragment, typename Special>
  void partition(std::string_view text, const EncodeOptions& options, const Fragment& fragment,
                 const Special& special) const;
  void encode_bpe(std::string_view text, const EncodeOptions& options,
                  std::vector<TokenId>& out) const;
  void encode_spm(std::string_view text, const EncodeOptions& options,
                  std::vector<TokenId>& out) const;
  void encode_wordpiece(std::string_view text, const EncodeOptions& options,
                        std::vector<TokenId>& out) const;
};

Status Tokenizer::Impl::build() {
  GEIST_TRY(check_vocabulary(vocabulary));
  types = effective_types(vocabulary);
  ends = end_tokens(vocabulary);
  const size_t count = vocabulary.tokens.size();
  size_t key_bytes = 0;
  for (const std::string& token : vocabulary.tokens) key_bytes += token.size();
  ids.reserve(count, key_bytes);
  for (size_t i = 0; i < count; ++i)
    if (!ids.insert(vocabulary.tokens[i], static_cast<TokenId>(i)))
      return errorf("tokenizer: tokens %d and %zu are both '%s'; the file is damaged",
                    ids.find(vocabulary.tokens[i]), i, shown(vocabulary.tokens[i]).c_str());
  bytes.resize(count);
  visible.resize(count);
  for (const char* text : {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"})
    if (const TokenId id = ids.find(text); id >= 0) visible[static_cast<size_t>(id)] = true;
  for (size_t i = 0; i < count; ++i) bytes[i] = bytes_of(i);
  build_specials();
  return build_model();
}

std::string Tokenizer::Impl::bytes_of(size_t id) const {
  const std::string& text = vocabulary.tokens[id];
  switch (types[id]) {
    case TokenType::kControl:
    case TokenType::kUnknown:
    case TokenType::kUserDefined:
      return text;
    case TokenType::kByte:
      return std::string(1, static_cast<char>(parse_byte_token(text)));
    default:
      break;
  }
  if (vocabulary.kind != TokenizerKind::kByteLevelBpe) return with_spaces(text);
  std::string out;
  return alphabet_to_bytes(text, &out) ? out : text;
}

void Tokenizer::Impl::build_specials() {
  std::vector<SpecialMatcher::Item> user, controls, all;
  for (size_t i = 0; i < types.size(); ++i) {
    const SpecialMatcher::Item item{vocabulary.tokens[i], static_cast<TokenId>(i)};
    const bool is_control = types[i] == TokenType::kControl || types[i] == TokenType::kUnknown;
    if (types[i] == TokenType::kUserDefined) user.push_back(item);
    if (is_control) controls.push_back(item);
    if (types[i] == TokenType::kUserDefined || is_control) all.push_back(item);
  }
  user_defined = SpecialMatcher(user);
  control = SpecialMatcher(controls);
  all_special = SpecialMatcher(all);
  lstrip.resize(types.size());
  rstrip.resize(types.size());
  for (const TokenId id : vocabulary.lstrip) lstrip[static_cast<size_t>(id)] = true;
  for (const TokenId id : vocabulary.rstrip) rstrip[static_cast<size_t>(id)] = true;
}

Status Tokenizer::Impl::build_model() {
  switch (vocabulary.kind) {
    case TokenizerKind::kByteLevelBpe: {
      GEIST_ASSIGN(PreTokenizer cuts, PreTokenizer::by_name(vocabulary.pre));
      pre = std::move(cuts);
      GEIST_ASSIGN(BpeModel model, BpeModel::create(vocabulary, types));
      bpe = std::move(model);
      return {};
    }
    case TokenizerKind::kSentencePiece: {
      GEIST_ASSIGN(SpmModel model, SpmModel::create(vocabulary, types));
      spm = std::move(model);
      return {};
    }
    case TokenizerKind::kWordPiece: {
      GEIST_ASSIGN(WordPieceModel model, WordPieceModel::create(vocabulary, types));
      wordpiece = std::move(model);
      return {};
    }
  }
  return errorf("tokenizer: unknown kind %d", static_cast<int>(vocabulary.kind));
}

// The first token at or behind `from` whose text is parsed.
SpecialMatcher::Match Tokenizer::Impl::next_special(std::string_view text, size_t from,
                                                    const EncodeOptions& options) const {
  if (!options.parse_special) return user_defined.find(text, from);
  const auto& breaks = options.breaks;
  for (;; ++from) {
    const SpecialMatcher::Match match = all_special.find(text, from);
    if (match.id < 0 || types[static_cast<size_t>(match.id)] == TokenType::kUserDefined)
      return match;
    const auto inside = std::upper_bound(breaks.begin(), breaks.end(), match.begin);
    if (inside == breaks.end() || *inside >= match.end) return match;
    const SpecialMatcher::Match user = user_defined.at(text, match.begin);
    if (user.id >= 0) return user;
    from = match.begin;
  }
}

// Calls fragment(text) and special(id) in order. A token that strips takes the white space beside
// it.
template <typename Fragment, typename Special>
void Tokenizer::Impl::partition(std::string_view text, const EncodeOptions& options,
                                const Fragment& fragment, const Special& special) const {
  for (size_t at = 0; at < text.size();) {
    const SpecialMatcher::Match match = next_special(text, at, options);
    size_t end = match.begin;
    if (match.id >= 0 && lstrip[static_cast<size_t>(match.id)])
      while (end > at && is_white(text[end - 1])) --end;
    if (end > at) fragment(text.substr(at, end - at));
    at = match.end;
    if (match.id < 0) continue;
    special(match.id);
    if (rstrip[static_cast<size_t>(match.id)])
      while (at < text.size() && is_white(text[at])) ++at;
  }
}

void Tokenizer::Impl::encode_bpe(std::string_view text, const EncodeOptions& options,
                                 std::vector<TokenId>& out) const {
  WordEncoder<BpeModel> words(*bpe, text.size(), out);
  partition(
      text, options,
      [&](std::string_view fragment) {
        size_t begin = 0;
        pre->split(fragment, [&](std::span<const size_t> batch) {
          for (const size_t end : batch) {
            words.encode(fragment.substr(begin, end - begin));
            begin = end;
          }
        });
      },
      [&](TokenId id) { out.push_back(id); });
}

void Tokenizer::Impl::encode_spm(std::string_view text, const EncodeOptions& options,
                                 std::vector<TokenId>& out) const {
  WordEncoder<SpmModel> words(*spm, text.size(), out);
  // A space goes in front of the next fragment.
  bool spaced = vocabulary.add_space_prefix && !options.continues;
  std::string first;
  partition(
      text, options,
      [&](std::string_view fragment) {
        size_t begin = 0;
        if (spaced) {
          begin = spm->next_cut(fragment, 0);
          first.assign(1, ' ').append(fragment.substr(0, begin));
          words.encode_uncached(first);
        }
        spaced = false;
        while (begin < fragment.size()) {
          const size_t end = spm->next_cut(fragment, begin);
          words.encode(fragment.substr(begin, end - begin));
          begin = end;
        }
      },
      [&](TokenId id) {
        out.push_back(id);
        spaced = vocabulary.add_space_prefix;
      });
}

void Tokenizer::Impl::encode_wordpiece(std::string_view text, const EncodeOptions& options,
                                       std::vector<TokenId>& out) const {
  WordEncoder<WordPieceModel> words(*wordpiece, text.size(), out);
  partition(
      text, options,
      [&](std::string_view fragment) {
        for (size_t begin = 0;
             (begin = wordpiece->skip_spaces(fragment, begin)) < fragment.size();) {
          const size_t end = wordpiece->next_cut(fragment, begin);
          words.encode(fragment.substr(begin, end - begin));
          begin = end;
        }
      },
      [&](TokenId id) { out.push_back(id); });
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::create(Vocabulary vocabulary) {
  auto impl = std::make_unique<Impl>();
  impl->vocabulary = std::move(vocabulary);
  GEIST_TRY(impl->build());
  return Tokenizer(std::move(impl));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const Vocabulary& v = impl_->vocabulary;
  const bool wordpiece = v.kind == TokenizerKind::kWordPiece;
  std::vector<TokenId> out;
  out.reserve(text.size() / 4 + 8);
  if (options.add_special && (v.add_bos || wordpiece) && v.bos >= 0) out.push_back(v.bos);
  switch (v.kind) {
    case TokenizerKind::kByteLevelBpe:
      impl_->encode_bpe(text, options, out);
      break;
    case TokenizerKind::kSentencePiece:
      impl_->encode_spm(text, options, out);
      break;
    case TokenizerKind::kWordPiece:
      impl_->encode_wordpiece(text, options, out);
      break;
  }
  if (options.add_special && wordpiece && v.sep >= 0) out.push_back(v.sep);
  if (options.add_special && !wordpiece && v.add_eos && v.eos >= 0) out.push_back(v.eos);
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool special) const {
  const Vocabulary& v = impl_->vocabulary;
  const bool prefixed = v.kind == TokenizerKind::kSentencePiece && v.add_space_prefix;
  // Encoding put a space in front of the first fragment and of each behind a special token; it goes
  // again.
  bool strip = prefixed || v.kind == TokenizerKind::kWordPiece;
  std::string out;
  for (const TokenId id : ids) {
    if (id < 0 || id >= size()) continue;
    const auto i = static_cast<size_t>(id);
    const std::string_view piece = impl_->bytes[i];
    if (!impl_->hidden(i) || special) {
      const bool ordinary =
          impl_->types[i] != TokenType::kControl && impl_->types[i] != TokenType::kUserDefined;
      out += piece.substr(strip && ordinary && piece.starts_with(' ') ? 1 : 0);
      strip = strip && !ordinary;
    }
    if (impl_->types[i] == TokenType::kControl || impl_->types[i] == TokenType::kUserDefined)
      strip = strip || prefixed;
  }
  return v.kind == TokenizerKind::kWordPiece && v.clean_up_spaces ? clean_up(out) : out;
}

std::string Tokenizer::token_bytes(TokenId id, bool special) const {
  if (id < 0 || id >= size()) return {};
  const auto i = static_cast<size_t>(id);
  return special || !impl_->hidden(i) ? impl_->bytes[i] : std::string();
}

const Vocabulary& Tokenizer::vocabulary() const { return impl_->vocabulary; }
int32_t Tokenizer::size() const { return static_cast<int32_t>(impl_->vocabulary.tokens.size()); }
bool Tokenizer::is_control(TokenId id) const {
  return id >= 0 && id < size() && impl_->types[static_cast<size_t>(id)] == TokenType::kControl;
}
bool Tokenizer::is_end(TokenId id) const {
  return id >= 0 && id < size() && impl_->ends[static_cast<size_t>(id)];
}
std::vector<size_t> Tokenizer::control_breaks(std::string_view text) const {
  std::vector<size_t> breaks;
  for (size_t from = 0;;) {
    const auto match = impl_->control.find(text, from);
    if (match.id < 0) return breaks;
    // Behind the first character: tokens may overlap, and each is broken at its own place.
    size_t inside = match.begin + 1;
    while (inside < match.end && (static_cast<unsigned char>(text[inside]) & 0xC0) == 0x80)
      ++inside;
    if (inside < match.end) breaks.push_back(inside);
    from = match.begin + 1;
  }
}
TokenId Tokenizer::find(std::string_view token) const { return impl_->ids.find(token); }

}  // namespace geist::text
