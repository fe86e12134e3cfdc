// Which weights a page was computed with: SHA-256 over all metadata and every byte of every tensor
// of a model file, so that no page of other weights can ever be taken for one of these.
#pragma once

#include <string>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"

namespace geist::engine {

// Reads the whole file: about a second for each gigabyte, divided by the threads.
Sha256Digest weights_digest(const gguf::File& file, ThreadPool& pool);

// The same, remembered in a small file in `folder` for as long as the model's files keep their
// path, size, inode, and times of modification and change. A folder that cannot be written to costs
// reading again.
Sha256Digest cached_weights_digest(const gguf::File& file, const std::string& folder,
                                   ThreadPool& pool);

}  // namespace geist::engine
