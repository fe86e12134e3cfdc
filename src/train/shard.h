// Shards: files of token ids that training maps, so that a corpus may be larger than memory.
//
//   "GEISTSHD" | version u32 | vocabulary size u32 | documents u64 | tokens u64 | text bytes u64
//   | SHA-256 of the vocabulary (32 bytes) | zero up to byte 128
//   | tokens: i32 each, padded with zeros to a multiple of 8 bytes
//   | index: for each document the token behind its last one, u64 each
//   | SHA-256 of everything before
//
// All numbers are little-endian. Ids have the four bytes that the model takes: a document of a
// mapped shard is a span into the file. Reading a shard checks the length, the sum, that the index
// rises and that every id is in the vocabulary, so what trains on it need check nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/result.h"
#include "text/tokenizer.h"

namespace geist::train {

// Of everything that decides which ids a text becomes.
Sha256Digest vocabulary_hash(const text::Vocabulary& vocabulary);

// What a shard file says. Refers to the bytes that it was parsed from.
class ShardView {
 public:
  // `bytes` must be 8-byte aligned; `name` stands in errors. `seen(offset)` is called now and then
  // with how much has been read: a mapping can be released up to there.
  static Result<ShardView> parse(std::span<const std::byte> bytes, const std::string& name,
                                 const std::function<void(size_t)>& seen = {});

  int64_t documents() const { return static_cast<int64_t>(ends_.size()); }
  std::span<const text::TokenId> document(int64_t i) const;
  int64_t tokens() const { return static_cast<int64_t>(tokens_.size()); }
  uint64_t text_bytes() const { return text_bytes_; }
  const Sha256Digest& vocabulary() const { return vocabulary_; }
  const Sha256Digest& sum() const { return sum_; }

 private:
  std::span<const text::TokenId> tokens_;
  std::span<const uint64_t> ends_;
  uint64_t text_bytes_ = 0;
  Sha256Digest vocabulary_{}, sum_{};
};

// A mapped shard file.
class Shard {
 public:
  static Result<Shard> open(const std::string& path);
  const ShardView& view() const { return view_; }

 private:
  Shard(MappedFile file, ShardView view) : file_(std::move(file)), view_(view) {}
  MappedFile file_;
  ShardView view_;
};

// Gathers documents in memory and writes them as one file.
class ShardWriter {
 public:
  ShardWriter(const Sha256Digest& vocabulary, uint32_t vocabulary_size)
      : vocabulary_(vocabulary), vocabulary_size_(vocabulary_size) {}
  void add(std::span<const text::TokenId> ids, uint64_t text_bytes);
  int64_t documents() const { return static_cast<int64_t>(ends_.size()); }
  int64_t tokens() const { return static_cast<int64_t>(tokens_.size()); }
  uint64_t text_bytes() const { return text_bytes_; }
  // Writes the file, and starts anew. The sum that the file ends in.
  Result<Sha256Digest> write(const std::string& path);

 private:
  Sha256Digest vocabulary_;
  uint32_t vocabulary_size_;
  std::vector<text::TokenId> tokens_;
  std::vector<uint64_t> ends_;
  uint64_t text_bytes_ = 0;
};

}  // namespace geist::train
