// geist train tokenizer: a byte-level BPE vocabulary from text.
#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "text/pre_tokenizer.h"
#include "train/bpe_trainer.h"
#include "train/documents.h"
#include "train/tokenizer_export.h"
#include "train/word_counter.h"

namespace geist::cli {
namespace {

struct Options {
  std::vector<std::string> data;
  std::string out, json, pre = "gpt-4o";
  int vocab = 4096, threads = 0;
  uint64_t count_min = 2;
  train::DocumentOptions documents;
};

Result<uint64_t> total_bytes(const std::vector<std::string>& paths) {
  uint64_t total = 0;
  for (const std::string& path : paths) {
    std::error_code failed;
    const uint64_t size = std::filesystem::file_size(path, failed);
    if (failed) return errorf("%s: cannot be read: %s", path.c_str(), failed.message().c_str());
    total += size;
  }
  return total;
}

Status count_words(const Options& options, uint64_t bytes, train::WordCounter& counter) {
  Progress progress("counting", bytes);
  uint64_t before = 0;
  for (const std::string& path : options.data) {
    GEIST_TRY(train::read_documents(path, options.documents,
                                    [&](std::string_view document, uint64_t offset) -> Status {
                                      if (interrupted()) return errorf("interrupted");
                                      counter.add(document);
                                      progress.update(before + offset);
                                      return {};
                                    }));
    before += std::filesystem::file_size(path);
    progress.update(before);
  }
  return {};
}

Result<text::Vocabulary> train(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  GEIST_ASSIGN(text::PreTokenizer pre, text::PreTokenizer::by_name(options.pre));
  GEIST_ASSIGN(const uint64_t bytes, total_bytes(options.data));
  ThreadPool pool(options.threads);
  train::WordCounter counter(std::move(pre), pool);
  GEIST_TRY(count_words(options, bytes, counter));
  const std::vector<train::WordCount> words = counter.finish();
  const size_t fixed = train::special_tokens().size() + 256;
  Progress progress("merging", static_cast<uint64_t>(options.vocab) - fixed,
                    Progress::Unit::kItems);
  GEIST_ASSIGN(const std::vector<train::MergePair> merges,
               train::train_merges(words, static_cast<size_t>(options.vocab) - fixed,
                                   options.count_min, pool, [&](size_t done, size_t) {
                                     progress.update(done);
                                     return !interrupted();
                                   }));
  text::Vocabulary vocabulary = train::make_vocabulary(merges, options.pre);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  note("%zu tokens from %s in %zu different words, %.1f s (%s/s)", vocabulary.tokens.size(),
       human_bytes(static_cast<double>(bytes)).c_str(), words.size(), seconds,
       human_bytes(static_cast<double>(bytes) / seconds).c_str());
  if (vocabulary.tokens.size() < static_cast<size_t>(options.vocab))
    note("the text has no more pairs that come %llu times: fewer tokens than the %d asked for",
         static_cast<unsigned long long>(options.count_min), options.vocab);
  return vocabulary;
}

Status run(const Options& options) {
  for (const std::string& out : {options.out, options.json})
    GEIST_TRY(refuse_overwriting(out, options.data));
  const CatchInterrupt catching;
  GEIST_ASSIGN(const text::Vocabulary vocabulary, train(options));
  if (!options.json.empty()) {
    GEIST_ASSIGN(const std::string json, train::tokenizer_json(vocabulary));
    GEIST_TRY(write_file(options.json, json));
  }
  return train::write_tokenizer_gguf(options.out, vocabulary);
}

}  // namespace

Command train_tokenizer_command() {
  return {
      "tokenizer", "Learn a byte-level BPE vocabulary from text",
      "geist train tokenizer --data stories.txt chats.jsonl --vocab 4096 --out tok.gguf\n"
      "echo -n 'Once upon a time' | geist tokenize tok.gguf",
      [](CLI::App& app) -> std::function<int()> {
        auto o = std::make_shared<Options>();
        app.add_option("--data", o->data, "text files, or JSON Lines (*.jsonl)")->required();
        app.add_option("--vocab", o->vocab, "how many tokens, special ones and bytes included")
            ->check(CLI::Range(static_cast<int>(train::special_tokens().size()) + 256, 1 << 22))
            ->capture_default_str();
        app.add_option("-o,--out", o->out, "the GGUF file to write")->required();
        app.add_option("--json", o->json, "also write a tokenizer.json (Hugging Face)");
        app.add_option("--pre", o->pre, "how text is cut into words")
            ->check(CLI::IsMember({"gpt-4o", "llama-bpe", "gpt-2", "qwen2", "smollm", "tekken"}))
            ->capture_default_str();
        app.add_option("--min-count", o->count_min, "a pair that comes less often never merges")
            ->check(CLI::Range(1, 1 << 30))
            ->capture_default_str();
        app.add_option("--field", o->documents.field,
                       "where JSON Lines have their text, or their list of messages")
            ->capture_default_str();
        app.add_option("--separator", o->documents.separator,
                       "the line between two documents of a text file")
            ->capture_default_str();
        app.add_option("-t,--threads", o->threads, "threads (default: one for each processor)")
            ->check(CLI::Range(1, 1024));
        return [o] {
          const Status status = run(*o);
          return status.ok() ? kDone : fail(status.error());
        };
      }};
}

}  // namespace geist::cli
