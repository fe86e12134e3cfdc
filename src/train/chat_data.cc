#include "train/chat_data.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "base/hash.h"
#include "base/rng.h"
#include "train/stage_recipe.h"

namespace geist::train {
namespace {

int64_t predictions(const EncodedChat& chat) { return static_cast<int64_t>(chat.weights.size()); }

ConversationFormat format_of(const std::string& name) {
  return name == "openai"     ? ConversationFormat::kOpenAi
         : name == "alpaca"   ? ConversationFormat::kAlpaca
         : name == "sharegpt" ? ConversationFormat::kShareGpt
                              : ConversationFormat::kDetect;
}

class Loader {
 public:
  Loader(const ChatDataOptions& options, const ChatEncoder& encoder, int64_t context)
      : o_(options), encoder_(encoder), context_(context) {}

  Status read(const std::string& path, bool all_validation) {
    return read_conversations(
        path, format_of(o_.format),
        [&](const Conversation& conversation, const std::string& where) -> Status {
          ++data.conversations;
          auto chats = encoder_.encode(conversation);
          if (!chats.ok()) return errorf("%s: %s", where.c_str(), chats.error().message.c_str());
          const bool aside = all_validation || share_of(conversation) < o_.validation_share;
          for (EncodedChat& chat : *chats) add(std::move(chat), aside);
          return {};
        });
  }

  ChatData data;

 private:
  // In [0, 1): the same conversation goes to the same side, whatever stands around it.
  static double share_of(const Conversation& conversation) {
    const std::string hash = conversation.hash();
    return static_cast<double>(std::stoull(hash.substr(0, 13), nullptr, 16)) * 0x1p-52;
  }
  void add(EncodedChat chat, bool aside) {
    if (predictions(chat) > context_ && o_.too_long == "truncate") cut(&chat);
    if (predictions(chat) > context_ || chat.learned == 0) {
      ++data.dropped;
      return;
    }
    (aside ? data.validation : data.train).push_back(std::move(chat));
  }
  void cut(EncodedChat* chat) {
    ++data.truncated;
    chat->ids.resize(static_cast<size_t>(context_) + 1);
    chat->weights.resize(static_cast<size_t>(context_));
    const auto learned = std::count(chat->weights.begin(), chat->weights.end(), 1.0f);
    // The text of a token is about as long as another's.
    chat->learned_bytes =
        chat->learned_bytes * static_cast<uint64_t>(learned) / static_cast<uint64_t>(chat->learned);
    chat->learned = learned;
  }

  const ChatDataOptions& o_;
  const ChatEncoder& encoder_;
  int64_t context_;
};

}  // namespace

Status read_chat_data(const RecipeTable& t, ChatDataOptions* o) {
  GEIST_TRY(t.require("files"));
  GEIST_TRY(t.read("files", &o->files));
  GEIST_TRY(t.read("validation_files", &o->validation_files));
  if (!o->validation_files.empty()) o->validation_share = 0;
  GEIST_TRY(t.read_choice("format", &o->format, {"detect", "openai", "alpaca", "sharegpt"}));
  GEIST_TRY(t.read("validation_share", &o->validation_share, {.min = 0, .max = 0.9}));
  GEIST_TRY(t.read("validation_sequences", &o->validation_sequences, {.min = 0, .max = 1 << 20}));
  GEIST_TRY(t.read("chat_template", &o->chat_template));
  GEIST_TRY(t.read_choice("too_long", &o->too_long, {"drop", "truncate"}));
  return t.read("unix_time_s", &o->unix_time_s, {.min = 0, .max = int64_t{1} << 40});
}

int64_t ChatData::learned(const std::vector<EncodedChat>& chats) {
  int64_t sum = 0;
  for (const EncodedChat& chat : chats) sum += chat.learned;
  return sum;
}

Result<ChatData> load_chat_data(const ChatDataOptions& options, const std::string& folder,
                                const ChatEncoder& encoder, int64_t context) {
  Loader loader(options, encoder, context);
  for (const std::string& file : options.files) GEIST_TRY(loader.read(beside(folder, file), false));
  for (const std::string& file : options.validation_files)
    GEIST_TRY(loader.read(beside(folder, file), true));
  if (loader.data.train.empty())
    return errorf(
        "the data has no conversation to train on: of %lld read, %lld sequences were left out "
        "for their length; look at train.context, data.too_long and data.validation_share",
        static_cast<long long>(loader.data.conversations),
        static_cast<long long>(loader.data.dropped));
  return std::move(loader.data);
}

ChatPacker::ChatPacker(const std::vector<EncodedChat>& chats, int64_t context, uint64_t seed,
                       bool shuffled)
    : chats_(chats), context_(context), seed_(seed), shuffled_(shuffled) {
  GEIST_CHECK(context > 0 && !chats.empty());
}

void ChatPacker::start_epoch(int64_t epoch) {
  epoch_ = epoch;
  order_.resize(chats_.size());
  std::iota(order_.begin(), order_.end(), size_t{0});
  if (shuffled_) {
    RandomStream random(seed_, "conversations of epoch " + std::to_string(epoch));
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.next_below(i)]);
  }
  ends_.clear();
  int64_t used = 0;
  for (size_t i = 0; i < order_.size(); ++i) {
    const int64_t size = predictions(chats_[order_[i]]);
    if (i > 0 && used + size > context_) {
      ends_.push_back(i);
      used = 0;
    }
    used += size;
  }
  ends_.push_back(order_.size());
}

int64_t ChatPacker::rows_of_first_epoch() {
  if (epoch_ != 0) {
    start_epoch(0);
    first_row_ = 0;
  }
  return rows();
}

void ChatPacker::row(int64_t index, std::vector<TrainSequence>* out) {
  if (epoch_ < 0 || index < first_row_) {
    start_epoch(0);
    first_row_ = 0;
  }
  while (index >= first_row_ + rows()) {
    first_row_ += rows();
    start_epoch(epoch_ + 1);
  }
  const auto row = static_cast<size_t>(index - first_row_);
  for (size_t i = row == 0 ? 0 : ends_[row - 1]; i < ends_[row]; ++i) {
    const EncodedChat& chat = chats_[order_[i]];
    out->push_back({.ids = chat.ids, .weights = chat.weights});
  }
}

}  // namespace geist::train
