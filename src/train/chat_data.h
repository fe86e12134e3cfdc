// What fine-tuning reads: files of conversations, made tokens through a chat template, divided into
// training and validation by their hash, and packed into rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/batch.h"
#include "train/chat_encoder.h"
#include "train/recipe.h"

namespace geist::train {

struct ChatDataOptions {
  std::vector<std::string> files, validation_files;
  std::string format = "detect";   // or "openai", "alpaca", "sharegpt"
  double validation_share = 0.02;  // of the conversations of `files`, chosen by their hash
  int64_t validation_sequences = 256;
  std::string chat_template;         // a file of Jinja; empty: the model's own
  std::string too_long = "drop";     // or "truncate"
  int64_t unix_time_s = 1767225600;  // what templates see as now: 2026-01-01
};

// The keys of [data].
Status read_chat_data(const RecipeTable& table, ChatDataOptions* options);

struct ChatData {
  std::vector<EncodedChat> train, validation;
  int64_t conversations = 0;  // read
  int64_t dropped = 0;        // sequences that are longer than a row, or have nothing left to learn
  int64_t truncated = 0;      // sequences cut to their first tokens, as many as a row holds

  static int64_t learned(const std::vector<EncodedChat>& chats);
};

// context: the most predictions of a sequence. Relative paths start at `folder`.
Result<ChatData> load_chat_data(const ChatDataOptions& options, const std::string& folder,
                                const ChatEncoder& encoder, int64_t context);

// Rows of whole sequences, side by side as long as they fit (batch.h: none attends to another), in
// an order drawn anew for each epoch. Row r of a run is a function of (chats, context, seed, r).
class ChatPacker {
 public:
  // shuffled: false keeps the order.
  ChatPacker(const std::vector<EncodedChat>& chats, int64_t context, uint64_t seed, bool shuffled);

  // Appends the sequences of a row.
  void row(int64_t index, std::vector<TrainSequence>* out);
  // Of the first epoch; epochs differ by how sequences fall into rows.
  int64_t rows_of_first_epoch();

 private:
  void start_epoch(int64_t epoch);
  int64_t rows() const { return static_cast<int64_t>(ends_.size()); }

  const std::vector<EncodedChat>& chats_;
  int64_t context_, epoch_ = -1, first_row_ = 0;
  uint64_t seed_;
  bool shuffled_;
  std::vector<size_t> order_, ends_;  // chats; where each row ends in the order
};

}  // namespace geist::train
