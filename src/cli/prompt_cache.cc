#include "cli/prompt_cache.h"

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "cli/store.h"
#include "engine/session.h"
#include "engine/weights_digest.h"

namespace geist::cli {

std::string prompt_cache_folder() { return user_file("pages"); }

void add_prompt_cache_options(CLI::App& app, PromptCacheOptions& options) {
  app.add_option("--prompt-cache", options.folder,
                 "folder that keeps computed prompts for later runs (default: none is kept)")
      ->envname("GEIST_PROMPT_CACHE");
  app.add_option("--prompt-cache-size", options.gigabytes_max,
                 "gigabytes that it may grow to (default: 8)")
      ->check(CLI::Range(0.0, 1e6));
  app.add_flag("--no-prompt-cache", options.off, "keep nothing, whatever the environment says");
}

PromptCache::PromptCache(const LoadedModel& loaded, const PromptCacheOptions& options,
                         bool worthwhile, bool verbose) {
  engine::MemoryOptions memory;
  memory.kv_type = loaded.kv_type;
  if (!options.folder.empty() && !options.off && worthwhile && loaded.model->config().causal) {
    const std::string& folder = options.folder;
    auto store = engine::PageStore::open(
        folder, {.bytes_max = static_cast<uint64_t>(options.gigabytes_max * 1e9)});
    if (store.ok()) {
      store_ = std::move(*store);
      memory.store = store_.get();
      memory.weights = engine::cached_weights_digest(loaded.model->file(), folder, *loaded.pool);
      warning_ = store_->warning();
      if (verbose && !warning_.empty()) note("%s", warning_.c_str());
    } else {
      note("%s; no prompt is kept", store.error().message.c_str());
    }
  }
  memory_ = std::make_unique<engine::Memory>(*loaded.model, memory);
}

int32_t PromptCache::tokens_found() const {
  return static_cast<int32_t>(memory_->stats().tokens_shared);
}

void PromptCache::keep(const engine::Session& session) {
  if (store_ == nullptr) return;
  memory_->save(session);
  const std::string warning = store_->warning();
  if (warning != warning_) note("%s", warning.c_str());
  warning_ = warning;
}

}  // namespace geist::cli
