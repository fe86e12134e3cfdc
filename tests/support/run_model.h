// Running a model over token ids in tests: whole or in chunks, with a sequence of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/model.h"

namespace geist::testing {

inline Result<std::unique_ptr<model::Model>> open_model(const std::string& path,
                                                        const model::LoadOptions& options = {}) {
  GEIST_ASSIGN(gguf::File file, gguf::File::open(path));
  return model::Model::load(std::move(file), options);
}

inline int64_t output_width(const model::Model& m) {
  return m.config().has_logits ? m.config().vocab_size : m.config().embedding_length;
}

// Appends ids to the sequence in one batch and returns a row for each: logits, or hidden states of
// models that have none.
inline std::vector<float> append(const model::Model& m, model::Sequence& sequence,
                                 std::span<const text::TokenId> ids, model::Workspace& workspace,
                                 ThreadPool& pool) {
  int32_t pos = model::reserve(m.config(), sequence, static_cast<int32_t>(ids.size()));
  std::vector<model::BatchToken> batch;
  for (const text::TokenId id : ids) batch.push_back({id, &sequence, pos++});
  std::vector<float> rows(ids.size() * static_cast<size_t>(output_width(m)));
  m.forward(batch, m.config().has_logits ? model::Output::kLogits : model::Output::kHidden,
            workspace, pool, rows.data());
  return rows;
}

// The rows of all ids, computed in chunks of these sizes (the last repeats).
inline std::vector<float> run_chunked(const model::Model& m, std::span<const text::TokenId> ids,
                                      ThreadPool& pool, std::span<const size_t> chunks) {
  const model::WorkspacePtr workspace = model::Model::make_workspace();
  model::Sequence sequence;
  std::vector<float> all;
  size_t at = 0, next = 0;
  while (at < ids.size()) {
    const size_t size = std::min(chunks[std::min(next++, chunks.size() - 1)], ids.size() - at);
    const std::vector<float> rows = append(m, sequence, ids.subspan(at, size), *workspace, pool);
    all.insert(all.end(), rows.begin(), rows.end());
    at += size;
  }
  return all;
}

inline std::vector<float> run_whole(const model::Model& m, std::span<const text::TokenId> ids,
                                    ThreadPool& pool) {
  const size_t whole[] = {ids.size()};
  return run_chunked(m, ids, pool, whole);
}

}  // namespace geist::testing
