// A page on disk: one file a page, named by the page's name. Version 1, little-endian:
//
//     0  "GEISTPAG"
//     8  u32 version = 1       12  u32 tokens, 1..32
//    16  i32 first position    20  u32 label, 0..63
//    24  u64 bytes of full-attention layers (F)
//    32  u64 bytes of sliding-window layers (W)
//    40  the page's name       72  the name of the page before it (or of the root)
//   104  32 x i32 tokens, zeros after the last
//   232  SHA-256 of bytes 320..end
//   264  SHA-256 of bytes 0..264
//   296  zeros
//   320  F bytes, zeros up to a multiple of 64, W bytes
//
// The payload begins at a multiple of 64 bytes, so a file that was read into aligned memory is used
// in place. Both checksums and the name (which is a hash of the header's own fields) are verified
// before a byte is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/page_name.h"

namespace geist::engine {

struct PageRecord {
  PageName name{}, parent{};
  int32_t first_pos = 0;
  uint32_t label = 0;
  std::vector<text::TokenId> tokens;
  std::span<const std::byte> full, window;
};

inline constexpr size_t kPageFileHeaderBytes = 320;

// The bytes of the file, header and padding included.
uint64_t page_file_bytes(const PageRecord& record);

// The header of the file, and the zeros between full and window.
struct PageFileHeader {
  std::vector<std::byte> header;
  size_t padding;
};
PageFileHeader encode_page_header(const PageRecord& record);

// Reads and verifies everything. The record's spans point into bytes. An error says what is wrong.
Result<PageRecord> parse_page_file(std::span<const std::byte> bytes);

// The same of the first kPageFileHeaderBytes of a file of so many bytes: the record has no keys and
// values.
Result<PageRecord> parse_page_header(std::span<const std::byte> header, uint64_t file_bytes);

}  // namespace geist::engine
