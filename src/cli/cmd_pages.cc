// geist pages: what the prompt cache holds, whether it is sound, and how to empty it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/prompt_cache.h"
#include "engine/page_store.h"

namespace geist::cli {
namespace {

struct PagesOptions {
  std::string action = "list", folder;
  bool json = false;
};

using Json = nlohmann::ordered_json;

int print(const Json& json) {
  const Status status = write_output(json.dump(2) + "\n");
  return status.ok() ? kDone : fail(status.error());
}

struct Sum {
  uint64_t pages = 0, bytes = 0, tokens = 0;
  void add(uint64_t page_bytes, const engine::PageRecord& record) {
    ++pages;
    bytes += page_bytes;
    tokens += record.tokens.size();
  }
};

int list(engine::PageStore& store, const std::string& folder, bool json) {
  Sum sum;
  uint64_t damaged = 0, beginnings = 0;
  int32_t longest = 0;
  store.visit(false, [&](const engine::PageName&, uint64_t bytes, const auto& record) {
    if (!record.ok()) {
      ++damaged;
      return;
    }
    sum.add(bytes, *record);
    beginnings += record->first_pos == 0 ? 1 : 0;
    longest = std::max(longest, record->first_pos + static_cast<int32_t>(record->tokens.size()));
  });
  if (json)
    return print(Json{{"folder", folder},
                      {"pages", sum.pages},
                      {"tokens", sum.tokens},
                      {"bytes", sum.bytes},
                      {"beginnings", beginnings},
                      {"longest_tokens", longest},
                      {"damaged", damaged}});
  std::printf("%s: %llu pages of %llu tokens, %s; %llu beginnings, the longest text %d tokens\n",
              folder.c_str(), static_cast<unsigned long long>(sum.pages),
              static_cast<unsigned long long>(sum.tokens),
              human_bytes(static_cast<double>(sum.bytes)).c_str(),
              static_cast<unsigned long long>(beginnings), longest);
  if (damaged > 0)
    note("%llu pages are damaged; 'geist pages check' removes them",
         static_cast<unsigned long long>(damaged));
  return kDone;
}

// Calls remove for pages that `unwanted` names, after the visit.
template <typename Unwanted>
uint64_t remove_pages(engine::PageStore& store, bool verify, const Unwanted& unwanted) {
  std::vector<engine::PageName> names;
  store.visit(verify, [&](const engine::PageName& name, uint64_t, const auto& record) {
    if (unwanted(record)) names.push_back(name);
  });
  for (const engine::PageName& name : names) store.remove(name);
  return names.size();
}

int run_pages(const PagesOptions& options) {
  const std::string folder = options.folder.empty() ? prompt_cache_folder() : options.folder;
  auto opened = engine::PageStore::open(folder, {.bytes_max = UINT64_MAX});
  if (!opened.ok()) return fail(opened.error());
  engine::PageStore& store = **opened;
  if (options.action == "list") return list(store, folder, options.json);
  if (!store.writable()) return fail(Error{store.warning()});
  const uint64_t all = store.stats().pages;
  const bool check = options.action == "check";
  const uint64_t removed = remove_pages(
      store, check,
      [&](const Result<engine::PageRecord>& record) { return !check || !record.ok(); });
  if (options.json) {
    const int printed = print(Json{{"folder", folder}, {"pages", all}, {"removed", removed}});
    if (printed != kDone) return printed;
  } else if (check) {
    std::printf("%s: %llu pages, %llu of them damaged and removed\n", folder.c_str(),
                static_cast<unsigned long long>(all), static_cast<unsigned long long>(removed));
  } else {
    std::printf("%s: %llu pages removed\n", folder.c_str(),
                static_cast<unsigned long long>(removed));
  }
  return check && removed > 0 ? kFailed : kDone;
}

}  // namespace

Command pages_command() {
  return {"pages", "List, check or clear the prompt cache",
          "geist pages\n"
          "geist pages check\n"
          "geist pages clear --prompt-cache folder",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<PagesOptions>();
            app.add_option("action", options->action,
                           "list (the default), check (verify every page), or clear")
                ->check(CLI::IsMember({"list", "check", "clear"}));
            app.add_option("--prompt-cache", options->folder,
                           "the folder (default: $GEIST_HOME/pages)")
                ->envname("GEIST_PROMPT_CACHE");
            app.add_flag("--json", options->json, "one JSON object");
            return [options] { return run_pages(*options); };
          }};
}

}  // namespace geist::cli
