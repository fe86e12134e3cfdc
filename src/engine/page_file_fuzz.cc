// Fuzzes parse_page_file. The first byte chooses the mode: raw bytes; raw bytes whose header's
// checksum is made right, so that the checks behind it are reached; a valid page, which must be
// read as it was written; a valid page with one byte changed, which must be refused.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/page_file.h"

namespace geist::engine {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

bool parse(std::span<const std::byte> bytes) {
  const auto record = parse_page_file(bytes);
  if (!record.ok()) {
    require(record.error().message.find('\n') == std::string::npos, "an error is one line");
    return false;
  }
  for (const auto part : {record->full, record->window}) {
    require(part.empty() || (part.data() >= bytes.data() &&
                             part.data() + part.size() <= bytes.data() + bytes.size()),
            "parts lie in the file");
  }
  require(!record->tokens.empty() && record->tokens.size() <= 32, "1 to 32 tokens");
  require(page_file_bytes(*record) == bytes.size(), "nothing follows the page");
  return true;
}

std::vector<std::byte> build(std::span<const std::byte> in, PageRecord& record) {
  const auto byte = [&](size_t i) { return i < in.size() ? static_cast<uint8_t>(in[i]) : 0u; };
  const size_t full = std::min<size_t>(byte(0), in.size()), window = byte(1) % 100;
  record.first_pos = static_cast<int32_t>(byte(2) * byte(3));
  record.label = byte(4) % 64;
  for (size_t i = 0; i < 1 + byte(5) % 32; ++i)
    record.tokens.push_back(static_cast<text::TokenId>(byte(6 + i) * 1000));
  record.name = page_name(record.parent, record.first_pos, record.label, record.tokens);
  record.full = in.first(full);
  record.window = in.last(std::min(window, in.size()));
  const PageFileHeader header = encode_page_header(record);
  std::vector<std::byte> out = header.header;
  out.insert(out.end(), record.full.begin(), record.full.end());
  out.resize(out.size() + header.padding);
  out.insert(out.end(), record.window.begin(), record.window.end());
  return out;
}

void fix_header(std::vector<std::byte>& bytes) {
  constexpr size_t kDigestAt = 264;
  if (bytes.size() < kPageFileHeaderBytes) return;
  std::memcpy(bytes.data(), "GEISTPAG\1\0\0\0", 12);
  const Sha256Digest digest = sha256(std::span(bytes).first(kDigestAt));
  std::memcpy(bytes.data() + kDigestAt, digest.data(), digest.size());
}

}  // namespace
}  // namespace geist::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::engine;
  if (size < 4) return 0;
  const auto rest = std::as_bytes(std::span(data + 1, size - 1));
  std::vector<std::byte> bytes(rest.begin(), rest.end());
  if (data[0] % 4 == 0) {
    parse(bytes);
    return 0;
  }
  if (data[0] % 4 == 1) {
    fix_header(bytes);
    parse(bytes);
    return 0;
  }
  PageRecord record;
  bytes = build(rest, record);
  if (data[0] % 4 == 2) {
    require(parse(bytes), "what was written can be read");
    const auto read = parse_page_file(bytes);
    require(read->name == record.name && read->tokens == record.tokens, "and is the same");
    return 0;
  }
  const size_t at = (static_cast<size_t>(data[1]) * 256 + data[2]) % bytes.size();
  bytes[at] ^= static_cast<std::byte>(data[3] == 0 ? 1 : data[3]);
  require(!parse(bytes), "a changed byte is found");
  return 0;
}
