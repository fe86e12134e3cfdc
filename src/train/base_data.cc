#include "train/base_data.h"

#include <filesystem>

#include "train/data_stage.h"
#include "train/documents.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

Status read_file(const std::string& path, const BaseData& data, const text::Tokenizer& tokenizer,
                 bool all_validation, BaseCorpora* corpora) {
  const DocumentOptions options{.field = data.field, .separator = data.separator};
  return read_documents(path, options, [&](std::string_view document, uint64_t) {
    return for_each_piece(document, data.split_bytes, [&](std::string_view piece) -> Status {
      const bool aside = all_validation || is_validation(piece, data.validation_share);
      (aside ? corpora->validation : corpora->train)
          .add(document_ids(tokenizer, piece), piece.size());
      return {};
    });
  });
}

Status read_shards(const std::string& folder, const text::Tokenizer& tokenizer,
                   BaseCorpora* corpora) {
  GEIST_ASSIGN(const std::vector<ShardEntry> shards, read_manifest(folder));
  const Sha256Digest vocabulary = vocabulary_hash(tokenizer.vocabulary());
  for (const ShardEntry& entry : shards) {
    const std::string path = (fs::path(folder) / entry.file).string();
    GEIST_ASSIGN(Shard shard, Shard::open(path));
    if (to_hex(shard.view().sum()) != entry.sha256)
      return errorf("%s: not the shard that manifest.json names; make the shards again",
                    path.c_str());
    if (shard.view().vocabulary() != vocabulary)
      return errorf("%s: made with another tokenizer than the model's; make the shards with it",
                    path.c_str());
    (entry.validation ? corpora->validation : corpora->train).add(std::move(shard));
  }
  return {};
}

}  // namespace

Result<BaseCorpora> read_corpora(const BaseData& data, const std::string& folder,
                                 const text::Tokenizer& tokenizer) {
  BaseCorpora corpora;
  const auto at = [&](const std::string& path) { return (fs::path(folder) / path).string(); };
  for (const std::string& file : data.files)
    GEIST_TRY(read_file(at(file), data, tokenizer, false, &corpora));
  for (const std::string& file : data.validation_files)
    GEIST_TRY(read_file(at(file), data, tokenizer, true, &corpora));
  for (const std::string& shards : data.shards)
    GEIST_TRY(read_shards(at(shards), tokenizer, &corpora));
  return corpora;
}

}  // namespace geist::train
