// Importing models in Hugging Face's layout: a folder with config.json, model.safetensors (or
// shards and their index), tokenizer.json and what comes with them becomes a GGUF file, in memory
// or on its way to disk.
#pragma once

#include <string>

#include "base/result.h"
#include "gguf/gguf.h"
#include "model/import_plan.h"

namespace geist::model {

// Reads the folder's JSON files and the tensors' headers, no tensor data. An error says which file
// or tensor does not fit; a tensor that has no place in the architecture is one, so that nothing is
// left out in silence.
Result<ImportPlan> plan_hf_import(const std::string& folder, MatrixType matrix_type = {});

// The whole import. Tensors that are the same in both layouts stay in the mapped file.
Result<gguf::File> import_hf(const std::string& folder);

// What commands open: a GGUF file (the first of a split brings in the others), or a folder in
// Hugging Face's layout.
Result<gguf::File> open_model_file(const std::string& path);

}  // namespace geist::model
