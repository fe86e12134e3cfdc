// geist train: the stages from text to a model, a subcommand each (train_commands.def).
#include <CLI/CLI.hpp>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"

namespace geist::cli {

#define GEIST_TRAIN_COMMAND(name) Command train_##name##_command();
#include "cli/train_commands.def"
#undef GEIST_TRAIN_COMMAND

namespace {

std::span<const Command> stages() {
  static const std::array kStages = {
#define GEIST_TRAIN_COMMAND(name) train_##name##_command(),
#include "cli/train_commands.def"
#undef GEIST_TRAIN_COMMAND
  };
  return kStages;
}

std::function<int()> configure(CLI::App& app) {
  app.require_subcommand(1);
  using Configured = std::vector<std::pair<CLI::App*, std::function<int()>>>;
  auto configured = std::make_shared<Configured>();
  for (const Command& stage : stages()) {
    CLI::App* sub = app.add_subcommand(std::string(stage.name), std::string(stage.summary));
    sub->footer(example_lines(stage.examples));
    configured->emplace_back(sub, stage.configure(*sub));
  }
  return [configured] {
    for (const auto& [sub, work] : *configured)
      if (sub->parsed()) return work();
    return kUsage;
  };
}

}  // namespace

Command train_command() {
  return {"train", "Make a model: tokenizer, data, training",
          "geist train tokenizer --data story.txt --vocab 4096 --out tok.gguf\n"
          "geist train tokenizer --help",
          configure};
}

}  // namespace geist::cli
