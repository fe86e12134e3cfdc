// geist reward: what a reward model gives for the last turn of conversations.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "engine/reward_head.h"
#include "train/chat_encoder.h"
#include "train/preferences.h"

namespace geist::cli {
namespace {

constexpr int64_t kUnixTimeS = 1767225600;  // what templates see as now: 2026-01-01, as in training

struct RewardOptions {
  ModelOptions model;
  std::string file = "-";
  bool json = false;
};

Status run(const RewardOptions& options) {
  GEIST_ASSIGN(const std::string text, read_file(options.file));
  GEIST_ASSIGN(SpeakingModel loaded, load_speaking_model(options.model));
  const CatchInterrupt catching;  // until here Ctrl-C ends the program at once
  GEIST_ASSIGN(const engine::RewardHead head, engine::RewardHead::load(*loaded.model));
  GEIST_ASSIGN(
      const train::ChatEncoder encoder,
      train::ChatEncoder::create(loaded.model->file().metadata(), *loaded.tokenizer, kUnixTimeS));
  engine::Runner runner(*loaded.model, *loaded.pool);
  const auto score = [&](const train::Conversation& read) -> Result<float> {
    train::Conversation conversation = read;
    GEIST_TRY(train::keep_last_turn(&conversation));
    GEIST_ASSIGN(const auto chats, encoder.encode(conversation));
    return head.score(runner, chats.back().ids);
  };
  return train::read_conversations_from(
      text, options.file == "-" ? "standard input" : options.file,
      train::ConversationFormat::kDetect,
      [&](const train::Conversation& conversation, const std::string& where) -> Status {
        if (interrupted()) return errorf("interrupted");
        const auto reward = score(conversation);
        if (!reward.ok()) return errorf("%s: %s", where.c_str(), reward.error().message.c_str());
        char number[32];
        std::snprintf(number, sizeof number, "%.9g", double{*reward});
        return write_output(options.json ? nlohmann::json{{"reward", *reward}}.dump() + "\n"
                                         : std::string(number) + "\n");
      });
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<RewardOptions>();
  add_model_options(app, options->model);
  app.add_option("file", options->file,
                 "conversations: JSON Lines or one JSON list (default: standard input)");
  app.add_flag("--json", options->json, "an object a line");
  return [options] {
    const Status status = run(*options);
    if (status.ok()) return kDone;
    return interrupted() ? kInterrupted : fail(status.error());
  };
}

}  // namespace

Command reward_command() {
  return {"reward", "Reward the last turn of conversations, by a reward model",
          "geist reward reward.gguf conversations.jsonl\n"
          "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": "
          "\"assistant\", \"content\": \"Hello!\"}]}' | geist reward reward.gguf --json",
          configure};
}

}  // namespace geist::cli
