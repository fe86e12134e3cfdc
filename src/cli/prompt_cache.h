// What commands that answer prompts keep between runs: the pages of keys and values of earlier
// prompts (engine/page_store.h), in a folder that the user names. A prompt that begins like an
// earlier one is not computed again as far as they agree. Nothing is kept unless asked for: the
// pages hold the prompts' tokens in the clear, and all weights are hashed once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/model_options.h"
#include "engine/memory.h"
#include "engine/page_store.h"

namespace CLI {
class App;
}

namespace geist::cli {

struct PromptCacheOptions {
  std::string folder;  // empty: nothing is kept
  double gigabytes_max = 8;
  bool off = false;
};

// Adds --prompt-cache, --prompt-cache-size and --no-prompt-cache.
void add_prompt_cache_options(CLI::App& app, PromptCacheOptions& options);
// Where geist pages looks when it is not told.
std::string prompt_cache_folder();

// The memory of a command's sessions, on top of the cache when it is used.
class PromptCache {
 public:
  // A prompt too short to fill pages is not worth opening the cache: its weights would have to be
  // hashed. Whatever is wrong with the cache is said, and work goes on without it.
  PromptCache(const LoadedModel& loaded, const PromptCacheOptions& options, bool worthwhile,
              bool verbose);

  engine::Memory& memory() { return *memory_; }
  // Tokens that were found instead of computed, so far.
  int32_t tokens_found() const;
  // Keeps the pages of a session for later runs.
  void keep(const engine::Session& session);

 private:
  std::unique_ptr<engine::PageStore> store_;
  std::unique_ptr<engine::Memory> memory_;
  std::string warning_;  // the last one that was known
};

inline constexpr size_t kPromptWorthCaching = 64;  // tokens

}  // namespace geist::cli
