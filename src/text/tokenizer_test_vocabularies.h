// Small vocabularies of each kind, for tests and fuzzing. Made for the purpose.
#pragma once

#include <cstdio>
#include <string>

#include "text/bpe.h"
#include "text/tokenizer.h"

namespace geist::text {

inline void add_token(Vocabulary& v, std::string text, TokenType type = TokenType::kNormal) {
  v.tokens.push_back(std::move(text));
  v.types.push_back(type);
}

// All bytes, a few merges, a control token and two user-defined ones of which one begins the other.
inline Vocabulary bpe_test_vocabulary() {
  Vocabulary v;
  v.kind = TokenizerKind::kByteLevelBpe;
  v.pre = "gpt-2";
  for (int b = 0; b < 256; ++b)
    add_token(v, std::string(byte_to_alphabet(static_cast<unsigned char>(b))));
  const std::string space(byte_to_alphabet(' '));
  for (const std::string& merge :
       {std::string("a b"), std::string("b c"), std::string("a a"), std::string("aa aa"),
        std::string("t h"), std::string("th e"), space + " the", space + " " + space}) {
    v.merges.push_back(merge);
    std::string joined = merge;
    joined.erase(joined.find(' ', 1), 1);
    add_token(v, joined);
  }
  add_token(v, "<|im_end|>", TokenType::kControl);
  add_token(v, "[tool]", TokenType::kUserDefined);
  add_token(v, "[tool]s]", TokenType::kUserDefined);
  return v;
}

// <unk> <s> </s>, all bytes, some letters and what they merge to.
inline Vocabulary spm_test_vocabulary() {
  Vocabulary v;
  v.kind = TokenizerKind::kSentencePiece;
  add_token(v, "<unk>", TokenType::kUnknown);
  add_token(v, "<s>", TokenType::kControl);
  add_token(v, "</s>", TokenType::kControl);
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    add_token(v, name, TokenType::kByte);
  }
  for (const char* text : {"\u2581", "h", "e", "l", "o", "a", "he", "ll", "hell", "hello",
                           "\u2581hello", "aa", "aaaa", "ol", "\u4e2d", "l\n", "a."})
    add_token(v, text);
  add_token(v, "[img]", TokenType::kUserDefined);
  v.scores.resize(v.tokens.size());
  for (size_t i = 0; i < v.scores.size(); ++i) v.scores[i] = -static_cast<float>(i);
  v.bos = 1, v.eos = 2, v.unk = 0;
  v.add_bos = true;
  return v;
}

inline Vocabulary wordpiece_test_vocabulary() {
  Vocabulary v;
  v.kind = TokenizerKind::kWordPiece;
  for (const char* text : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    add_token(v, text, TokenType::kControl);
  for (const char* text : {"\u2581un", "aff", "able", "\u2581,", "\u2581!", "\u2581ete", "a", "b"})
    add_token(v, text);
  v.pad = 0, v.unk = 1, v.bos = v.cls = 2, v.sep = 3, v.mask = 4;
  v.add_bos = v.add_sep = v.clean_up_spaces = true;
  v.add_space_prefix = false;
  return v;
}

}  // namespace geist::text
