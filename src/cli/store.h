// Where models lie: a path, or a name in the model store, which is the folder $GEIST_HOME, by
// default
// ~/.geist/models.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace geist::cli {

std::string model_store();
// A file that belongs to the user rather than to a model (chat history): beside or in the store.
std::string user_file(std::string_view name);

// The path of MODEL: a file, a folder (safetensors), NAME or NAME.gguf in the store. Otherwise an
// error that says how to get weights.
Result<std::string> find_model(const std::string& model);

}  // namespace geist::cli
