#include "cli/store.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string user_folder() {
  const std::string home = environment("HOME");
  return (home.empty() ? std::string(".") : home) + "/.geist";
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

std::string model_store() {
  const std::string home = environment("GEIST_HOME");
  return home.empty() ? user_folder() + "/models" : home;
}

std::string user_file(std::string_view name) {
  const std::string home = environment("GEIST_HOME");
  return (home.empty() ? user_folder() : home) + "/" + std::string(name);
}

Result<std::string> find_model(const std::string& model) {
  if (exists(model)) return model;
  const bool is_name = !model.empty() && model.find('/') == std::string::npos;
  if (is_name) {
    const std::string store = model_store();
    for (const std::string& folder : {store, store + "/models"}) {
      for (const char* ending : {"", ".gguf"}) {
        const std::string path = folder + "/" + model + ending;
        if (exists(path)) return path;
      }
    }
  }
  return errorf(
      "%s: no such file%s%s; 'geist pull tinyllama' downloads a small chat model, 'geist pull "
      "--help' tells "
      "of others",
      model.c_str(), is_name ? " and no such name in " : "", is_name ? model_store().c_str() : "");
}

}  // namespace geist::cli
