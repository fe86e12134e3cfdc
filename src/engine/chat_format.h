// From a conversation to tokens: the model's own chat template when its file carries one, otherwise
// a plain transcript.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace geist::engine {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// What a template is given.
struct ChatView {
  std::string messages;  // JSON: a list of messages in OpenAI's form
  std::string tools;     // JSON: a list of tools; empty: none
  bool add_generation_prompt = true;
};

class ChatFormat {
 public:
  // Refers to tokenizer, which must live as long. Fails when the file's template does not parse.
  static Result<ChatFormat> create(const gguf::Metadata& metadata,
                                   const text::Tokenizer& tokenizer);

  // The tokens of the conversation, up to where the assistant answers. unix_time_s is what
  // templates see as now (UTC). What a template refuses (a role, an order of roles) is an error
  // with its own words.
  Result<std::vector<text::TokenId>> prompt(std::span<const ChatMessage> messages,
                                            int64_t unix_time_s) const;

  // The text of a conversation, byte for byte; generated: null, or where the template's {%
  // generation %} blocks stand in it; breaks: null, or offsets for text::EncodeOptions that keep
  // the text of control tokens in the messages of users, tools and the system from being parsed,
  // while the template's own is. An error when the template's output does not tell the two apart.
  Result<std::string> render(const ChatView& view, int64_t unix_time_s,
                             std::vector<text::TextSpan>* generated = nullptr,
                             std::vector<size_t>* breaks = nullptr) const;
  bool marks_generation() const { return template_.marks_generation(); }

  // Whether the file carries a template.
  bool from_model() const { return from_model_; }
  // Text at which an answer ends besides the model's end tokens; only for the plain transcript.
  const std::vector<std::string>& stops() const { return stops_; }

 private:
  Result<std::string> render_messages(const std::string& messages, const ChatView& view,
                                      int64_t unix_time_s,
                                      std::vector<text::TextSpan>* generated) const;
  ChatFormat(text::ChatTemplate parsed, const text::Tokenizer& tokenizer)
      : template_(std::move(parsed)), tokenizer_(&tokenizer) {}
  text::ChatTemplate template_;
  const text::Tokenizer* tokenizer_;
  bool from_model_ = false;
  std::vector<std::string> stops_;
};

}  // namespace geist::engine
