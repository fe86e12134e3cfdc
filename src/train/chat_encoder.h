// Conversations as tokens, with what is learned of them: the assistant's turns, each to the token
// that ends it, and nothing else.
//
// Where a turn stands is asked of the template itself. One with {% generation %} blocks says so;
// of any other the text before the answer (as a prompt) must be the start of the text with it, and
// what is between is the turn. Text is cut there before it is made tokens, as it is when a model
// answers. Templates that show an old turn otherwise than the last one (most that think do) make a
// sequence of each turn, as it is when the model answers it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/chat_format.h"
#include "gguf/gguf.h"
#include "text/tokenizer.h"
#include "train/conversations.h"

namespace geist::train {

struct EncodedChat {
  std::vector<text::TokenId> ids;
  std::vector<float> weights;  // of ids[i + 1]: 1 where it is learned, else 0
  int64_t learned = 0;         // how many are
  uint64_t learned_bytes = 0;  // of text
};

class ChatEncoder {
 public:
  // Of the model's own template (metadata), or the plain ones of engine/chat_format where it has
  // none. unix_time_s is what templates see as now. Refers to tokenizer, which must live as long.
  static Result<ChatEncoder> create(const gguf::Metadata& metadata,
                                    const text::Tokenizer& tokenizer, int64_t unix_time_s);

  // At least one sequence. The error says what is wrong, not where.
  Result<std::vector<EncodedChat>> encode(const Conversation& conversation) const;

 private:
  // How the template wants the arguments of tool calls.
  enum class Arguments { kObject, kText, kUnknown };

  ChatEncoder(engine::ChatFormat format, const text::Tokenizer& tokenizer, int64_t unix_time_s)
      : format_(std::move(format)), tokenizer_(&tokenizer), unix_time_s_(unix_time_s) {}
  void ask_for_arguments();
  Result<EncodedChat> encode_text(std::string_view text, const std::vector<text::TextSpan>& learned,
                                  const std::vector<size_t>& breaks) const;

  engine::ChatFormat format_;
  const text::Tokenizer* tokenizer_;
  int64_t unix_time_s_;
  Arguments arguments_ = Arguments::kUnknown;
};

}  // namespace geist::train
