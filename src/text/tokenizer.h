// Tokenizers: text to token ids and back, from the vocabulary that a model file carries.
//
// A Tokenizer is immutable and safe to use from many threads. Encoding takes time linear in the
// input whatever the input is; invalid UTF-8 is encoded byte by byte and decodes to the same bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::text {

using TokenId = int32_t;

enum class TokenizerKind {
  kSentencePiece,  // "llama": score-driven merges over characters, byte fallback
  kByteLevelBpe,   // "gpt2": a pre-tokenizer, then ranked merges over bytes
  kWordPiece,      // "bert": greedy longest match
};

// The numbers of GGUF's tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// All that defines a tokenizer, in the terms of GGUF's tokenizer.ggml.* keys; -1 means "none".
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::kByteLevelBpe;
  std::string
      pre;  // tokenizer.ggml.pre: which pre-tokenizer ("llama-bpe", "qwen2", "default", ...)
  std::vector<std::string>
      tokens;                    // as stored: SPM with U+2581, byte-level BPE in its byte alphabet
  std::vector<float> scores;     // SPM; may be empty otherwise
  std::vector<TokenType> types;  // may be empty: all normal
  std::vector<std::string> merges;                 // BPE: "left right", best first
  TokenId bos = -1, eos = -1, eot = -1, eom = -1;  // of text, turn, message
  TokenId unk = -1, sep = -1, pad = -1, cls = -1, mask = -1;
  std::vector<TokenId> lstrip,
      rstrip;  // special tokens that take the white space on that side with them
  bool add_bos = false, add_eos = false, add_sep = false;
  bool add_space_prefix = true;  // SPM
  bool remove_extra_whitespaces = false;
  bool ignore_merges = false;  // a whole pre-token that is in the vocabulary is one token (llama 3)
  bool clean_up_spaces = false;  // WordPiece decoding: no space before . , ! ? and contractions
  bool lowercase = true, strip_accents = true;  // WordPiece normaliser
};

struct EncodeOptions {
  bool add_special = true;  // BOS/EOS (CLS/SEP) as the vocabulary asks
  bool parse_special =
      false;  // control tokens' text in the input becomes their ids. User-defined tokens always do.
  bool continues = false;  // the text goes on from other text: SPM puts no space in front of it
  // Offsets in the text, ascending, that the text of no control token reaches across: what a
  // message quotes stays text where the template around it is parsed (control_breaks()).
  std::span<const size_t> breaks = {};
};

class Tokenizer {
 public:
  static Result<Tokenizer> create(Vocabulary vocabulary);
  // A Hugging Face tokenizer.json; config is tokenizer_config.json's text or empty.
  static Result<Tokenizer> from_tokenizer_json(std::string_view json, std::string_view config = {});

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The bytes of a whole sequence. Control tokens are shown only when `special`. SPM: the space
  // that encoding put in front is removed.
  std::string decode(std::span<const TokenId> ids, bool special = false) const;
  // The bytes of one token in the middle of a text (streaming). Empty for ids out of range.
  std::string token_bytes(TokenId id, bool special = false) const;

  const Vocabulary& vocabulary() const;
  int32_t size() const;
  bool is_control(TokenId id) const;
  // End of generation: EOS, EOT, and the well-known end-of-turn tokens of chat models by their
  // text.
  bool is_end(TokenId id) const;
  // An offset inside the text of every control token that `text` spells, ascending: as
  // EncodeOptions::breaks they keep all of them from being parsed.
  std::vector<size_t> control_breaks(std::string_view text) const;
  // Looks a token up by its text as stored; -1 when absent.
  TokenId find(std::string_view token) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Parsing alone, for convert: the Vocabulary that a tokenizer.json (+ tokenizer_config.json)
// defines.
Result<Vocabulary> vocabulary_from_tokenizer_json(std::string_view json,
                                                  std::string_view config = {});

}  // namespace geist::text
