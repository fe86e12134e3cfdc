// LoRA adapters in PEFT's layout (huggingface/peft: a folder with adapter_config.json and
// adapter_model.safetensors), as the GGUF adapter file of lora.h.
#pragma once

#include <string>

#include "base/result.h"
#include "gguf/gguf.h"
#include "model/config.h"
#include "model/import_plan.h"

namespace geist::model {

// Whether the folder holds an adapter.
bool is_peft_folder(const std::string& path);

// `base` is the model that the adapter was trained for: its architecture says what tensors are
// called, its heads how rows of queries and keys are ordered. An error says which file or tensor
// does not fit; what a LoRA adapter can carry and Geist does not apply (DoRA, biases, whole
// modules, experts) is one.
Result<ImportPlan> plan_peft_import(const std::string& folder, const Config& base,
                                    MatrixType matrix_type = {});

// What commands open as an adapter: a GGUF file, or a folder in PEFT's layout.
Result<gguf::File> open_adapter_file(const std::string& path, const Config& base);

}  // namespace geist::model
