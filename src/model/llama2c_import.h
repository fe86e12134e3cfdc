// Importing checkpoints of llama2.c (Karpathy), the legacy layout "version 0": seven int32 and
// float32 weights, with the vocabulary in a tokenizer.bin of its own.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "model/import_plan.h"

namespace geist::model {

// tokenizer: a path; empty: the bytes that follow the weights in the checkpoint itself, or
// tokenizer.bin beside it, or tokN.bin for a vocabulary of N. Reads the numbers and the vocabulary,
// no weights.
Result<ImportPlan> plan_llama2c_import(const std::string& checkpoint,
                                       const std::string& tokenizer = "",
                                       MatrixType matrix_type = {});

// Both files in memory (fuzzing, tests); bytes must outlive the plan.
Result<ImportPlan> plan_llama2c_import(std::span<const std::byte> checkpoint,
                                       std::span<const std::byte> tokenizer,
                                       const std::string& name, MatrixType matrix_type = {});

}  // namespace geist::model
