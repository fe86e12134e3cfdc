// What people think of replies: thumbs of geist chat, kept as JSON Lines beside the chat's history
// and made into preferences to learn from. A line is one verdict:
//
//   {"model": "tinyllama", "messages": [{"role", "content"}, ...], "reply": "...",
//    "verdict": "good" or "bad"}
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/chat_format.h"

namespace geist::cli {

struct Feedback {
  std::string model = {};                          // as it was named
  std::vector<engine::ChatMessage> messages = {};  // that the reply answers, the system message too
  std::string reply = {};
  bool good = false;
};

// Of the user, in the folder of the model store.
std::string feedback_file();

// Appends a line and makes sure that it is on the disk. Several chats may do so at once. A line
// that a crash has cut off stays a line of its own. The file is readable by its owner alone.
Status append_feedback(const std::string& path, const Feedback& feedback);

struct FeedbackExport {
  std::string lines;  // JSON Lines, forms of train/preferences.h
  int64_t pairs = 0, good_alone = 0, bad_alone = 0;
  int64_t not_whole = 0;  // lines that were passed over
};

// Every good reply to the same messages with every bad one as {"prompt", "chosen", "rejected"};
// what has no counterpart as {"prompt", "completion", "label"}. In the order of the file; of
// several verdicts on the same reply the last one counts.
Result<FeedbackExport> export_feedback(const std::string& path);

}  // namespace geist::cli
