// Conversations to learn from, out of the forms in which people keep them, made one: messages and
// tools as OpenAI's chat API has them.
//
//   OpenAI     {"messages": [{"role", "content", "tool_calls"?}, ...], "tools"?: [...]}
//   Alpaca     {"instruction", "input"?, "output" or "response", "system"?, "history"?: [[q, a]]}
//   ShareGPT   {"conversations": [{"from", "value"}, ...], "system"?, "tools"?}; function_call and
//              observation are a call and its result; messages with "role" are taken as well
//
// A file is JSON Lines or one JSON list. Made one means: "developer" is "system", parts of text are
// one text, arguments of calls are objects, calls have ids and their results name them.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::train {

enum class ConversationFormat { kDetect, kOpenAi, kAlpaca, kShareGpt };

struct Conversation {
  std::string messages;           // JSON: a list
  std::string tools;              // JSON: a list; empty: none
  std::vector<size_t> unlearned;  // assistant messages with "weight": 0

  std::string hash() const;  // SHA-256 of messages and tools
};

// Called for each record, with its place for errors of the caller: "chats.jsonl:12". An error stops
// the reading and is passed on.
using ConversationSink = std::function<Status(const Conversation&, const std::string& where)>;

Status read_conversations(const std::string& path, ConversationFormat format,
                          const ConversationSink& sink);
Status read_conversations_from(std::string_view bytes, const std::string& name,
                               ConversationFormat format, const ConversationSink& sink);

// One record. The error says what is wrong, not where.
Result<Conversation> to_conversation(const nlohmann::ordered_json& record,
                                     ConversationFormat format);
// A list of messages in OpenAI's form, for records of other shapes (preferences, prompts).
Result<Conversation> messages_to_conversation(const nlohmann::ordered_json& messages);

}  // namespace geist::train
