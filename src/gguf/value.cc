// Metadata values: making them and looking them up by type.
#include <limits>

#include "gguf/gguf.h"
#include "gguf/wire.h"

namespace geist::gguf {
namespace {

std::string describe(const Value& value) {
  if (value.type != ValueType::kArray) return std::string(value_type_name(value.type));
  return "array of " + std::string(value_type_name(value.element_type));
}

Error mismatch(std::string_view key, const Value& value, const char* expected) {
  return errorf("key %s is of type %s, expected %s", quote_name(key).c_str(),
                describe(value).c_str(), expected);
}

const Value* find(const Metadata& metadata, std::string_view key) {
  const auto entry = metadata.find(key);
  return entry == metadata.end() ? nullptr : &entry->second;
}

Error too_large(std::string_view key, uint64_t value) {
  return errorf("key %s: the value %llu is too large", quote_name(key).c_str(),
                static_cast<unsigned long long>(value));
}

template <typename T>
std::optional<T> copy_if_held(const Value* value) {
  if (const T* held = std::get_if<T>(&value->data)) return *held;
  return std::nullopt;
}

Value array(ValueType element_type, auto held) {
  Value value{ValueType::kArray, element_type, {}};
  value.data = std::move(held);
  return value;
}

}  // namespace

std::string_view value_type_name(ValueType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  const auto number = static_cast<uint32_t>(type);
  return number < std::size(kNames) ? kNames[number] : "unknown";
}

Value Value::u32(uint32_t v) { return {ValueType::kU32, {}, uint64_t{v}}; }
Value Value::i32(int32_t v) { return {ValueType::kI32, {}, int64_t{v}}; }
Value Value::u64(uint64_t v) { return {ValueType::kU64, {}, v}; }
Value Value::f32(float v) { return {ValueType::kF32, {}, double{v}}; }
Value Value::boolean(bool v) { return {ValueType::kBool, {}, v}; }
Value Value::string(std::string v) { return {ValueType::kString, {}, std::move(v)}; }
Value Value::strings(std::vector<std::string> v) { return array(ValueType::kString, std::move(v)); }
Value Value::f32s(std::vector<float> v) {
  return array(ValueType::kF32, std::vector<double>(v.begin(), v.end()));
}
Value Value::i32s(std::vector<int32_t> v) {
  return array(ValueType::kI32, std::vector<int64_t>(v.begin(), v.end()));
}
Value Value::u32s(std::vector<uint32_t> v) {
  return array(ValueType::kU32, std::vector<uint64_t>(v.begin(), v.end()));
}

Result<std::optional<int64_t>> get_int(const Metadata& metadata, std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<int64_t>();
  if (const auto held = copy_if_held<int64_t>(value)) return std::optional<int64_t>(*held);
  const auto held = copy_if_held<uint64_t>(value);
  if (!held) return mismatch(key, *value, "an integer");
  if (*held > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return too_large(key, *held);
  return std::optional<int64_t>(static_cast<int64_t>(*held));
}

Result<std::optional<double>> get_float(const Metadata& metadata, std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<double>();
  if (const auto held = copy_if_held<double>(value)) return std::optional<double>(*held);
  return mismatch(key, *value, "a float");
}

Result<std::optional<bool>> get_bool(const Metadata& metadata, std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<bool>();
  if (const auto held = copy_if_held<bool>(value)) return std::optional<bool>(*held);
  return mismatch(key, *value, "a bool");
}

Result<std::optional<std::string>> get_string(const Metadata& metadata, std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<std::string>();
  if (auto held = copy_if_held<std::string>(value))
    return std::optional<std::string>(std::move(*held));
  return mismatch(key, *value, "a string");
}

Result<const std::vector<std::string>*> get_strings(const Metadata& metadata,
                                                    std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return static_cast<const std::vector<std::string>*>(nullptr);
  if (const auto* held = std::get_if<std::vector<std::string>>(&value->data)) return held;
  return mismatch(key, *value, "an array of strings");
}

Result<std::optional<std::vector<float>>> get_floats(const Metadata& metadata,
                                                     std::string_view key) {
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<std::vector<float>>();
  const auto* held = std::get_if<std::vector<double>>(&value->data);
  if (held == nullptr) return mismatch(key, *value, "an array of floats");
  std::vector<float> floats;
  floats.reserve(held->size());
  for (const double v : *held) floats.push_back(static_cast<float>(v));
  return std::optional(std::move(floats));
}

Result<std::optional<std::vector<int64_t>>> get_ints(const Metadata& metadata,
                                                     std::string_view key) {
  using Ints = std::vector<int64_t>;
  const Value* value = find(metadata, key);
  if (value == nullptr) return std::optional<Ints>();
  if (const auto* held = std::get_if<Ints>(&value->data)) return std::optional<Ints>(*held);
  if (const auto* held = std::get_if<std::vector<bool>>(&value->data))
    return std::optional<Ints>(Ints(held->begin(), held->end()));
  const auto* held = std::get_if<std::vector<uint64_t>>(&value->data);
  if (held == nullptr) return mismatch(key, *value, "an array of integers");
  for (const uint64_t v : *held)
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return too_large(key, v);
  return std::optional<Ints>(Ints(held->begin(), held->end()));
}

}  // namespace geist::gguf
