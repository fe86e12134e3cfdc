#include "train/shard.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/checked.h"

namespace geist::train {
namespace {

constexpr std::string_view kMagic = "GEISTSHD";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 128, kSumBytes = 32;
constexpr size_t kReadBytes = size_t{16} << 20;  // summed and checked at a time

struct Header {
  char magic[8];
  uint32_t version, vocabulary_size;
  uint64_t documents, tokens, text_bytes;
  uint8_t vocabulary[32];
};
static_assert(sizeof(Header) == 72);

// Where things lie; nothing when the counts are beyond any file.
struct Layout {
  uint64_t index = 0, sum = 0, size = 0;
};

std::optional<Layout> layout_of(const Header& h) {
  const auto tokens = checked_mul<uint64_t>(h.tokens, sizeof(text::TokenId));
  const auto index = tokens ? checked_add<uint64_t>(*tokens, kHeaderBytes + 7) : std::nullopt;
  const auto ends = checked_mul<uint64_t>(h.documents, sizeof(uint64_t));
  if (!index || !ends) return std::nullopt;
  const uint64_t begin = *index / 8 * 8;
  const auto sum = checked_add(begin, *ends);
  const auto size = sum ? checked_add<uint64_t>(*sum, kSumBytes) : std::nullopt;
  if (!size) return std::nullopt;
  return Layout{begin, *sum, *size};
}

Error bad(const std::string& name, const std::string& what) {
  return errorf("%s: %s; make the shards again with geist train data", name.c_str(), what.c_str());
}

// Sums all bytes before the sum, releasing what was read.
Sha256Digest sum_of(std::span<const std::byte> bytes, const std::function<void(size_t)>& seen) {
  Sha256 hash;
  for (size_t at = 0; at < bytes.size(); at += kReadBytes) {
    hash.update(bytes.subspan(at, std::min(kReadBytes, bytes.size() - at)));
    if (seen) seen(at);
  }
  return hash.finish();
}

}  // namespace

Sha256Digest vocabulary_hash(const text::Vocabulary& v) {
  Sha256 hash;
  const auto add_text = [&](std::string_view text) {
    const uint64_t size = text.size();
    hash.update(std::as_bytes(std::span(&size, 1)));
    hash.update(std::as_bytes(std::span(text)));
  };
  add_text(v.pre);
  for (const std::string& token : v.tokens) add_text(token);
  for (const std::string& merge : v.merges) add_text(merge);
  hash.update(std::as_bytes(std::span(v.scores)));
  hash.update(std::as_bytes(std::span(v.types)));
  const int32_t kinds[] = {
      static_cast<int32_t>(v.kind), v.bos, v.eos, v.eot, v.ignore_merges, v.add_space_prefix};
  hash.update(std::as_bytes(std::span(kinds)));
  return hash.finish();
}

Result<ShardView> ShardView::parse(std::span<const std::byte> bytes, const std::string& name,
                                   const std::function<void(size_t)>& seen) {
  Header h{};
  if (bytes.size() >= sizeof h) std::memcpy(&h, bytes.data(), sizeof h);
  if (std::string_view(h.magic, sizeof h.magic) != kMagic)
    return errorf("%s: this is not a shard of tokens", name.c_str());
  if (h.version != kVersion)
    return errorf("%s: a shard of version %u; this program reads version %u", name.c_str(),
                  h.version, kVersion);
  const auto layout = layout_of(h);
  if (!layout || bytes.size() != layout->size)
    return bad(name, "is " + std::to_string(bytes.size()) + " bytes long where its header says " +
                         (layout ? std::to_string(layout->size) : "more than any file") +
                         ": it was cut short or written over");
  ShardView view;
  std::memcpy(view.sum_.data(), bytes.data() + layout->sum, kSumBytes);
  if (sum_of(bytes.first(layout->sum), seen) != view.sum_)
    return bad(name, "its bytes do not have the sum that stands at its end: it is damaged");
  view.tokens_ = {reinterpret_cast<const text::TokenId*>(bytes.data() + kHeaderBytes), h.tokens};
  view.ends_ = {reinterpret_cast<const uint64_t*>(bytes.data() + layout->index), h.documents};
  view.text_bytes_ = h.text_bytes;
  std::memcpy(view.vocabulary_.data(), h.vocabulary, sizeof h.vocabulary);
  uint64_t end = 0;
  for (const uint64_t next : view.ends_) {
    if (next < end || next > h.tokens) return bad(name, "its index of documents is off");
    end = next;
  }
  if (end != h.tokens) return bad(name, "its index does not cover its tokens");
  for (size_t i = 0; i < view.tokens_.size(); ++i) {
    if (static_cast<uint32_t>(view.tokens_[i]) >= h.vocabulary_size)
      return bad(name, "token " + std::to_string(i) + " is outside its vocabulary");
    if (seen && i % (kReadBytes / sizeof(text::TokenId)) == 0)
      seen(kHeaderBytes + i * sizeof(text::TokenId));
  }
  return view;
}

std::span<const text::TokenId> ShardView::document(int64_t i) const {
  const auto at = static_cast<size_t>(i);
  const uint64_t begin = at == 0 ? 0 : ends_[at - 1];
  return tokens_.subspan(begin, ends_[at] - begin);
}

Result<Shard> Shard::open(const std::string& path) {
  GEIST_ASSIGN(MappedFile file, MappedFile::open(path));
  GEIST_ASSIGN(const ShardView view, ShardView::parse(file.bytes(), path, [&](size_t read) {
                 if (read >= kReadBytes)
                   file.release((read - kReadBytes) / 4096 * 4096, kReadBytes);
               }));
  return Shard(std::move(file), view);
}

void ShardWriter::add(std::span<const text::TokenId> ids, uint64_t text_bytes) {
  for (const text::TokenId id : ids) GEIST_CHECK(static_cast<uint32_t>(id) < vocabulary_size_);
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  ends_.push_back(tokens_.size());
  text_bytes_ += text_bytes;
}

Result<Sha256Digest> ShardWriter::write(const std::string& path) {
  Header h{};
  h.version = kVersion;
  h.vocabulary_size = vocabulary_size_;
  std::memcpy(h.magic, kMagic.data(), kMagic.size());
  h.documents = ends_.size();
  h.tokens = tokens_.size();
  h.text_bytes = text_bytes_;
  std::memcpy(h.vocabulary, vocabulary_.data(), vocabulary_.size());
  std::byte head[kHeaderBytes] = {};
  std::memcpy(head, &h, sizeof h);
  if (tokens_.size() % 2 != 0) tokens_.push_back(0);  // the padding

  GEIST_ASSIGN(AtomicFile file, AtomicFile::create(path));
  Sha256 hash;
  for (const std::span<const std::byte> part :
       {std::span<const std::byte>(head), std::as_bytes(std::span(tokens_)),
        std::as_bytes(std::span(ends_))}) {
    hash.update(part);
    GEIST_TRY(file.write(part));
  }
  const Sha256Digest sum = hash.finish();
  GEIST_TRY(file.write(std::as_bytes(std::span(sum))));
  GEIST_TRY(file.commit());
  tokens_.clear();
  ends_.clear();
  text_bytes_ = 0;
  return sum;
}

}  // namespace geist::train
