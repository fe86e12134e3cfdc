#include "model/hf_config.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "base/json_guard.h"
#include "base/unicode.h"

namespace geist::model {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 64;

std::optional<int64_t> to_integer(const Json& json) {
  if (!json.is_number_integer()) return std::nullopt;
  if (json.is_number_unsigned() &&
      json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return std::nullopt;
  return json.get<int64_t>();
}

}  // namespace

struct HfConfig::Impl {
  std::shared_ptr<const Json> root;  // keeps `json` alive
  const Json* json = nullptr;
  std::string file;
  std::shared_ptr<Status> status;

  const Json* find(Names names) const {
    for (const char* name : names) {
      const auto entry = json->find(name);
      if (entry != json->end() && !entry->is_null()) return &*entry;
    }
    return nullptr;
  }

  void complain(Names names, const char* expected) const {
    if (!status->ok()) return;
    for (const char* name : names)
      if (json->contains(name)) {
        *status = errorf("%s: \"%s\" must be %s", file.c_str(), name, expected);
        return;
      }
  }
};

Result<HfConfig> HfConfig::parse(std::string_view text, const std::string& file) {
  if (!json_depth_within(text, kDepthMax) || !is_valid_utf8(text))
    return errorf("%s: nested too deep or not UTF-8; download it again", file.c_str());
  auto root = std::make_shared<Json>(Json::parse(text, nullptr, /*allow_exceptions=*/false));
  if (!root->is_object()) return errorf("%s: not a JSON object; download it again", file.c_str());
  const Json* json = root.get();
  return HfConfig(
      std::make_shared<Impl>(Impl{std::move(root), json, file, std::make_shared<Status>()}));
}

std::optional<int64_t> HfConfig::integer(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  const auto value = to_integer(*json);
  if (!value) impl_->complain(names, "an integer");
  return value;
}

std::optional<double> HfConfig::number(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  if (json->is_number()) return json->get<double>();
  impl_->complain(names, "a number");
  return std::nullopt;
}

std::optional<bool> HfConfig::boolean(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  if (json->is_boolean()) return json->get<bool>();
  impl_->complain(names, "true or false");
  return std::nullopt;
}

std::optional<std::string> HfConfig::string(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  if (json->is_string()) return json->get<std::string>();
  impl_->complain(names, "a string");
  return std::nullopt;
}

std::optional<std::vector<double>> HfConfig::numbers(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  std::vector<double> values;
  bool good = json->is_array();
  for (const Json& item : *json) {
    good = good && item.is_number();
    if (good) values.push_back(item.get<double>());
  }
  if (good) return values;
  impl_->complain(names, "an array of numbers");
  return std::nullopt;
}

std::optional<std::vector<std::string>> HfConfig::strings(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  std::vector<std::string> values;
  bool good = json->is_array();
  for (const Json& item : *json) {
    good = good && item.is_string();
    if (good) values.push_back(item.get<std::string>());
  }
  if (good) return values;
  impl_->complain(names, "an array of strings");
  return std::nullopt;
}

std::vector<int64_t> HfConfig::integers(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return {};
  if (const auto single = to_integer(*json)) return {*single};
  std::vector<int64_t> values;
  bool good = json->is_array();
  for (const Json& item : *json) {
    const auto value = good ? to_integer(item) : std::nullopt;
    good = good && value;
    if (good) values.push_back(*value);
  }
  if (!good) impl_->complain(names, "an integer or an array of integers");
  return values;
}

std::optional<HfConfig> HfConfig::object(Names names) const {
  const Json* json = impl_->find(names);
  if (json == nullptr) return std::nullopt;
  if (json->is_object())
    return HfConfig(std::make_shared<Impl>(Impl{impl_->root, json, impl_->file, impl_->status}));
  impl_->complain(names, "an object");
  return std::nullopt;
}

bool HfConfig::has(const char* name) const { return impl_->find({name}) != nullptr; }
bool HfConfig::empty() const { return impl_->json->empty(); }
Status HfConfig::status() const { return *impl_->status; }
const std::string& HfConfig::file() const { return impl_->file; }

}  // namespace geist::model
