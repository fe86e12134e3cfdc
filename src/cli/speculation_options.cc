#include "cli/speculation_options.h"

#include <CLI/CLI.hpp>

namespace geist::cli {

void add_speculation_options(CLI::App& app, SpeculationFlags& flags) {
  app.add_option(
         "--speculate", flags.mode,
         "guess tokens ahead and check them together (faster; the same tokens): ngram, from "
         "the text so far; auto, with --draft if given, else ngram; off")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "off", "ngram"}));
  app.add_option("--draft", flags.draft, "a smaller model with the same vocabulary that guesses");
  app.add_option("--draft-max", flags.draft_max, "tokens guessed at a time at most")
      ->capture_default_str()
      ->check(CLI::Range(0, engine::SpeculationCost::kDraftMax));
}

Result<std::unique_ptr<engine::Speculator>> make_speculator(const SpeculationFlags& flags,
                                                            const SpeakingModel& loaded) {
  if (flags.mode == "off" || flags.draft_max == 0) return std::unique_ptr<engine::Speculator>();
  std::unique_ptr<engine::Drafter> drafter;
  if (flags.mode == "auto" && !flags.draft.empty()) {
    ModelOptions options;
    options.model = flags.draft;
    options.threads = loaded.pool->size();
    GEIST_ASSIGN(SpeakingModel draft, load_speaking_model(options));
    GEIST_ASSIGN(drafter, engine::make_model_drafter(std::move(draft.model), *draft.tokenizer,
                                                     *loaded.tokenizer, *loaded.pool));
  } else {
    drafter = engine::make_ngram_drafter();
  }
  return std::make_unique<engine::Speculator>(
      std::move(drafter), engine::SpeculationOptions{.draft_max = flags.draft_max});
}

}  // namespace geist::cli
