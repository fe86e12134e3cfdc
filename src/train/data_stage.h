// `geist train data`: from files of text to shards of tokens (shard.h), for corpora of any size.
//
//   out = "shards"                   # beside the recipe unless absolute
//   tokenizer = "tok.gguf"
//   [data]
//   files = ["a.txt", "b.jsonl"]
//   validation_share = 0.01          # of the documents, chosen by their hash
//   [filter]                         # see data_recipe.cc: every key has a default
//   [duplicates]
//
// Documents stream: a batch of them is looked at on all threads, kept or dropped in order, and what
// is kept is tokenised on all threads and written in order. Memory holds a batch, two shards, 16
// bytes for each document and what near_duplicates.h keeps. The files are the same on any number of
// threads. manifest.json, written last, names the shards and says what was kept and dropped.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "train/documents.h"
#include "train/quality.h"
#include "train/recipe.h"

namespace geist::train {

struct DataOptions {
  std::vector<std::string> files;
  std::string tokenizer, out;
  DocumentOptions documents;
  int64_t split_bytes = 0;  // longer documents are cut behind a line's end; 0: never
  double validation_share = 0.01;
  int64_t shard_tokens = int64_t{1} << 24;
  QualityOptions quality;
  bool exact_duplicates = true;  // drop documents that came before
  double near_duplicates = 0.8;  // and those as similar as this to one that was kept; 0: none
};

Result<DataOptions> read_data_recipe(const Recipe& recipe, const std::string& recipe_path);

// An error that names the value; what a recipe or a command line may have got wrong.
Status validate(const DataOptions& options);

struct DataCount {
  int64_t documents = 0;
  uint64_t bytes = 0;
  int64_t tokens = 0;  // of what was kept
};

struct ShardEntry {
  std::string file;  // in the folder
  std::string sha256 = {};
  bool validation = false;
  int64_t documents = 0, tokens = 0;
};

struct DataReport {
  DataCount read, train, validation;
  std::map<std::string, DataCount> dropped;          // by reason
  std::map<std::string, std::string> first_dropped;  // "file, document 12", by reason
  std::string vocabulary_sha256;
  std::vector<ShardEntry> shards;
};

// Told how many bytes of the input are done; false stops (nothing is left behind but shards that no
// manifest names).
using DataObserver = std::function<bool(uint64_t bytes_done)>;

Result<DataReport> run_data_stage(const DataOptions& options, ThreadPool& pool,
                                  const DataObserver& observer);

// manifest.json.
std::string manifest_text(const DataReport& report);
// The shards of a folder, from its manifest.
Result<std::vector<ShardEntry>> read_manifest(const std::string& folder);
Result<std::vector<ShardEntry>> parse_manifest(std::string_view json, const std::string& name);

}  // namespace geist::train
