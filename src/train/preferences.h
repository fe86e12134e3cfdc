// Preferences out of the forms in which people keep them, made one: whole conversations, best
// first, of each of which the last turn is what is compared.
//
//   {"prompt": "..." or [messages], "chosen": ..., "rejected": ...}     also "messages" for
//   "prompt"
//   {"chosen": [messages], "rejected": [messages]}                      each a whole conversation
//   {"chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": ...}     Anthropic's hh-rlhf
//   {"conversations": [...], "chosen": {"from", "value"}, "rejected"}   LLaMA-Factory, ShareGPT
//   {"instruction", "input"?, "chosen", "rejected"}                     LLaMA-Factory, Alpaca
//   {"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]} OpenAI
//   {..., "ranked": [best, ..., worst]}                                 a ranking instead of a pair
//   {..., "completion": ..., "label": true or false}                    an answer alone (KTO)
//
// An answer is a text, a message, or a list of messages that ends with the assistant's; "tools" may
// stand beside. A file is JSON Lines or one JSON list.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/conversations.h"

namespace geist::train {

struct Preference {
  std::vector<Conversation> answers;  // best first; earlier turns of the assistant are unlearned
  std::optional<bool> label;          // of an answer alone: whether it is wanted

  std::string hash() const;
};

// Leaves the last turn alone to be compared; an error when it is not the assistant's.
Status keep_last_turn(Conversation* conversation);

using PreferenceSink = std::function<Status(const Preference&, const std::string& where)>;

// How many records were left out comes back: hh-rlhf has dialogues with an empty turn.
Result<int64_t> read_preferences(const std::string& path, const PreferenceSink& sink);
Result<int64_t> read_preferences_from(std::string_view bytes, const std::string& name,
                                      const PreferenceSink& sink);

// One record; no answers: to be left out. The error says what is wrong, not where.
Result<Preference> to_preference(const nlohmann::ordered_json& record);

}  // namespace geist::train
