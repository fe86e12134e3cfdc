#include "engine/page_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "kernels/kernels.h"
#include "model/page.h"

namespace geist::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's bytes are used in place");
static_assert(kernels::kPageTokens == 32, "the format has room for 32 tokens a page");

constexpr char kMagic[] = {'G', 'E', 'I', 'S', 'T', 'P', 'A', 'G'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kAlignment = 64;
constexpr size_t kTokensAt = 104, kPayloadDigestAt = 232, kHeaderDigestAt = 264, kHeaderEndAt = 296;

template <typename T>
void put(std::vector<std::byte>& out, size_t at, const T& value) {
  std::memcpy(out.data() + at, &value, sizeof value);
}

template <typename T>
T get(std::span<const std::byte> in, size_t at) {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

uint64_t padding_after(uint64_t bytes) { return (kAlignment - bytes % kAlignment) % kAlignment; }

Sha256Digest payload_digest(const PageRecord& record) {
  static constexpr std::byte kZeros[kAlignment] = {};
  Sha256 hash;
  hash.update(record.full);
  if (!record.window.empty()) {
    hash.update({kZeros, padding_after(record.full.size())});
    hash.update(record.window);
  }
  return hash.finish();
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

uint64_t page_file_bytes(const PageRecord& record) {
  const uint64_t padding = record.window.empty() ? 0 : padding_after(record.full.size());
  return kPageFileHeaderBytes + record.full.size() + padding + record.window.size();
}

PageFileHeader encode_page_header(const PageRecord& record) {
  GEIST_CHECK(!record.tokens.empty() &&
              record.tokens.size() <= static_cast<size_t>(kernels::kPageTokens));
  std::vector<std::byte> out(kPageFileHeaderBytes);
  std::memcpy(out.data(), kMagic, sizeof kMagic);
  put(out, 8, kVersion);
  put(out, 12, static_cast<uint32_t>(record.tokens.size()));
  put(out, 16, record.first_pos);
  put(out, 20, record.label);
  put(out, 24, static_cast<uint64_t>(record.full.size()));
  put(out, 32, static_cast<uint64_t>(record.window.size()));
  put(out, 40, record.name);
  put(out, 72, record.parent);
  std::memcpy(out.data() + kTokensAt, record.tokens.data(),
              record.tokens.size() * sizeof(text::TokenId));
  put(out, kPayloadDigestAt, payload_digest(record));
  put(out, kHeaderDigestAt, sha256(std::span(out).first(kHeaderDigestAt)));
  return {std::move(out), record.window.empty() ? 0 : padding_after(record.full.size())};
}

Result<PageRecord> parse_page_header(std::span<const std::byte> bytes, uint64_t file_bytes) {
  if (bytes.size() < kPageFileHeaderBytes || file_bytes < kPageFileHeaderBytes)
    return errorf("the header of a page is cut short");
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) return errorf("not a page file");
  const auto version = get<uint32_t>(bytes, 8);
  if (version != kVersion)
    return errorf("version %u of the page file is not known here (version %u is)", version,
                  kVersion);
  if (get<Sha256Digest>(bytes, kHeaderDigestAt) != sha256(bytes.first(kHeaderDigestAt)))
    return errorf("the header of a page is damaged");
  const auto count = get<uint32_t>(bytes, 12);
  PageRecord record;
  record.first_pos = get<int32_t>(bytes, 16);
  record.label = get<uint32_t>(bytes, 20);
  record.name = get<PageName>(bytes, 40);
  record.parent = get<PageName>(bytes, 72);
  if (count == 0 || count > static_cast<uint32_t>(kernels::kPageTokens) || record.first_pos < 0 ||
      record.label >= model::kLabelCount)
    return errorf("a page of %u tokens at position %d with label %u cannot be", count,
                  record.first_pos, record.label);
  record.tokens.resize(count);
  const size_t token_bytes = count * sizeof(text::TokenId);
  std::memcpy(record.tokens.data(), bytes.data() + kTokensAt, token_bytes);
  if (!all_zero(
          bytes.subspan(kTokensAt + token_bytes, kPayloadDigestAt - kTokensAt - token_bytes)) ||
      !all_zero(bytes.subspan(kHeaderEndAt, kPageFileHeaderBytes - kHeaderEndAt)))
    return errorf("the header of a page holds what version %u does not know", kVersion);
  if (record.name != page_name(record.parent, record.first_pos, record.label, record.tokens))
    return errorf("a page does not bear the name of its tokens");

  const auto full = get<uint64_t>(bytes, 24), window = get<uint64_t>(bytes, 32);
  const uint64_t padding = window == 0 ? 0 : padding_after(full);
  const auto front = checked_add(full, padding);
  const auto payload = front ? checked_add(*front, window) : front;
  if (!payload || *payload != file_bytes - kPageFileHeaderBytes)
    return errorf("a page of %llu bytes should have %llu + %llu bytes of keys and values",
                  static_cast<unsigned long long>(file_bytes),
                  static_cast<unsigned long long>(full), static_cast<unsigned long long>(window));
  return record;
}

Result<PageRecord> parse_page_file(std::span<const std::byte> bytes) {
  GEIST_ASSIGN(PageRecord record, parse_page_header(bytes, bytes.size()));
  if (get<Sha256Digest>(bytes, kPayloadDigestAt) != sha256(bytes.subspan(kPageFileHeaderBytes)))
    return errorf("the keys and values of a page are damaged");
  record.full = bytes.subspan(kPageFileHeaderBytes, get<uint64_t>(bytes, 24));
  record.window = bytes.last(get<uint64_t>(bytes, 32));
  return record;
}

}  // namespace geist::engine
