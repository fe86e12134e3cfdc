// Between pages in memory (model/page.h) and in files (page_file.h), and which of a page's parts
// are needed. Internal to engine.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/page_node.h"
#include "engine/page_store.h"
#include "model/model.h"

namespace geist::engine {

// Of a page with all its parts.
uint64_t page_bytes(const model::KvLayout& layout);

// What a session of so many pages holds at most while it is computed, and a copy of its open page:
// of window_pages at a time also the window parts.
uint64_t session_bytes(const model::KvLayout& layout, uint64_t pages, uint64_t window_pages);

// Tokens whose window parts exist at the same time, beside the pages at both ends.
int64_t live_tokens(const model::Config& config);

// Whether tokens from position next_pos on can be computed with the parts that this page has.
bool serves(const model::Config& config, const model::Page& page, int32_t next_pos);
// Whether its window part is of no use to any of them.
bool expired(const model::Config& config, const model::Page& page, int32_t next_pos);

// What a file of this page holds: a page of a node that has a name, with all its parts. Spans point
// into the page.
PageRecord page_record(const model::KvLayout& layout, const PageNode& node,
                       const model::Page& page);
bool is_whole(const model::KvLayout& layout, const model::Page& page);

// The page of a file; null when it is not of this shape.
std::shared_ptr<model::Page> page_from(const model::KvLayout& layout, StoredPage stored);

}  // namespace geist::engine
