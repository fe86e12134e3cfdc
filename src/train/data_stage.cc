#include "train/data_stage.h"

#include <cstring>
#include <filesystem>
#include <unordered_set>

#include "base/file.h"
#include "base/hash.h"
#include "model/load_tokenizer.h"
#include "train/corpus.h"
#include "train/near_duplicates.h"
#include "train/shard.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

// Of a batch: enough to keep all threads at work, little enough to hold.
constexpr size_t kBatchBytes = size_t{16} << 20, kBatchDocuments = 16384;

struct Item {
  std::string text;
  std::string_view fault = {};  // why it is dropped; empty: kept
  Sha256Digest digest = {};
  Signature signature = {};
  std::vector<text::TokenId> ids = {};
  bool validation = false;
};

// The first half of a SHA-256 is enough to tell documents apart.
struct Key {
  uint64_t a, b;
  bool operator==(const Key&) const = default;
};
struct KeyHash {
  size_t operator()(const Key& key) const { return key.a; }
};

std::vector<std::string> inputs_of(const DataOptions& options) {
  std::vector<std::string> inputs = options.files;
  inputs.push_back(options.tokenizer);
  return inputs;
}

// The shards of one side of the split.
class Side {
 public:
  Side(const DataOptions& options, const text::Tokenizer& tokenizer, bool validation)
      : o_(options),
        validation_(validation),
        writer_(vocabulary_hash(tokenizer.vocabulary()),
                static_cast<uint32_t>(tokenizer.vocabulary().tokens.size())) {}

  Status add(const Item& item, DataReport* report) {
    const auto tokens = static_cast<int64_t>(item.ids.size());
    if (writer_.documents() > 0 && writer_.tokens() + tokens > o_.shard_tokens)
      GEIST_TRY(write(report));
    writer_.add(item.ids, item.text.size());
    DataCount& count = validation_ ? report->validation : report->train;
    ++count.documents;
    count.bytes += item.text.size();
    count.tokens += tokens;
    return {};
  }
  Status finish(DataReport* report) { return writer_.documents() > 0 ? write(report) : Status(); }

 private:
  Status write(DataReport* report) {
    char name[40];
    std::snprintf(name, sizeof name, "%s-%05d.shard", validation_ ? "validation" : "train",
                  number_++);
    ShardEntry entry{.file = name,
                     .validation = validation_,
                     .documents = writer_.documents(),
                     .tokens = writer_.tokens()};
    const std::string path = (fs::path(o_.out) / name).string();
    GEIST_TRY(refuse_overwriting(path, inputs_of(o_)));
    GEIST_ASSIGN(const Sha256Digest sum, writer_.write(path));
    entry.sha256 = to_hex(sum);
    report->shards.push_back(std::move(entry));
    return {};
  }

  const DataOptions& o_;
  bool validation_;
  int number_ = 0;
  ShardWriter writer_;
};

class Stage {
 public:
  Stage(const DataOptions& options, const text::Tokenizer& tokenizer, ThreadPool& pool,
        const DataObserver& observer)
      : o_(options),
        tokenizer_(tokenizer),
        pool_(pool),
        observer_(observer),
        near_(options.near_duplicates),
        train_(options, tokenizer, false),
        validation_(options, tokenizer, true) {
    report_.vocabulary_sha256 = to_hex(vocabulary_hash(tokenizer.vocabulary()));
  }

  Result<DataReport> run() {
    for (const std::string& file : o_.files) GEIST_TRY(read_file(file));
    GEIST_TRY(train_.finish(&report_));
    GEIST_TRY(validation_.finish(&report_));
    return std::move(report_);
  }

 private:
  Status read_file(const std::string& file) {
    file_ = file;
    document_ = 0;
    uint64_t done = 0;
    GEIST_TRY(read_documents(
        file, o_.documents, [&](std::string_view document, uint64_t offset) -> Status {
          done = offset;
          return for_each_piece(document, o_.split_bytes, [&](std::string_view piece) -> Status {
            batch_bytes_ += piece.size();
            batch_.push_back({std::string(piece)});
            if (batch_bytes_ < kBatchBytes && batch_.size() < kBatchDocuments) return {};
            return finish_batch(done);
          });
        }));
    GEIST_TRY(finish_batch(done));
    before_ += fs::file_size(file);
    return {};
  }

  Status finish_batch(uint64_t done) {
    const auto count = static_cast<int64_t>(batch_.size());
    pool_.for_each(count, [&](int64_t i) { look_at(batch_[static_cast<size_t>(i)]); });
    for (Item& item : batch_) decide(item);
    pool_.for_each(count, [&](int64_t i) { tokenize(batch_[static_cast<size_t>(i)]); });
    for (const Item& item : batch_)
      if (item.fault.empty())
        GEIST_TRY((item.validation ? validation_ : train_).add(item, &report_));
    batch_.clear();
    batch_bytes_ = 0;
    if (!observer_(before_ + done)) return errorf("interrupted");
    return {};
  }

  void look_at(Item& item) const {
    item.fault = quality_fault(item.text, o_.quality);
    if (!item.fault.empty()) return;
    item.digest = sha256(std::as_bytes(std::span(item.text)));
    if (o_.near_duplicates > 0) item.signature = signature_of(item.text);
  }

  void decide(Item& item) {
    ++document_;
    ++report_.read.documents;
    report_.read.bytes += item.text.size();
    Key key;
    std::memcpy(&key, item.digest.data(), sizeof key);
    if (item.fault.empty() && o_.exact_duplicates && !seen_.insert(key).second)
      item.fault = "exact_duplicate";
    if (item.fault.empty() && o_.near_duplicates > 0 && near_.is_duplicate(item.signature))
      item.fault = "near_duplicate";
    if (item.fault.empty()) return;
    const std::string reason(item.fault);
    DataCount& count = report_.dropped[reason];
    ++count.documents;
    count.bytes += item.text.size();
    report_.first_dropped.try_emplace(reason, file_ + ", document " + std::to_string(document_));
  }

  void tokenize(Item& item) const {
    if (!item.fault.empty()) return;
    item.validation = is_validation(item.text, o_.validation_share);
    item.ids = document_ids(tokenizer_, item.text);
  }

  const DataOptions& o_;
  const text::Tokenizer& tokenizer_;
  ThreadPool& pool_;
  const DataObserver& observer_;
  std::unordered_set<Key, KeyHash> seen_;
  NearDuplicates near_;
  Side train_, validation_;
  DataReport report_;
  std::vector<Item> batch_;
  size_t batch_bytes_ = 0;
  std::string file_;
  int64_t document_ = 0;  // in the file
  uint64_t before_ = 0;   // bytes of files that are done
};

// Shards of an earlier run that the manifest no longer names.
void remove_strays(const std::string& folder, const DataReport& report) {
  std::unordered_set<std::string> named;
  for (const ShardEntry& shard : report.shards) named.insert(shard.file);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".shard" && !named.contains(entry.path().filename().string()))
      fs::remove(entry.path(), ignored);
}

}  // namespace

Result<DataReport> run_data_stage(const DataOptions& options, ThreadPool& pool,
                                  const DataObserver& observer) {
  GEIST_TRY(validate(options));
  GEIST_ASSIGN(const gguf::File file, gguf::File::open(options.tokenizer));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(file.metadata()));
  if (tokenizer.vocabulary().eos < 0)
    return errorf("%s: the tokenizer has no end-of-text token", options.tokenizer.c_str());
  std::error_code failed;
  fs::create_directories(options.out, failed);
  if (failed)
    return errorf("%s: cannot be made: %s", options.out.c_str(), failed.message().c_str());
  const std::string manifest = (fs::path(options.out) / "manifest.json").string();
  GEIST_TRY(refuse_overwriting(manifest, inputs_of(options)));
  fs::remove(manifest, failed);  // an interrupted run leaves none
  GEIST_ASSIGN(DataReport report, Stage(options, tokenizer, pool, observer).run());
  GEIST_TRY(write_file(manifest, manifest_text(report)));
  remove_strays(options.out, report);
  return report;
}

}  // namespace geist::train
