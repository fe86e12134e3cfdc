#include "train/recipe.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <variant>

#include "base/file.h"
#include "base/hash.h"

namespace geist::train {

// toml++'s tree is copied into this one, so that the library stays in this file and each table can
// remember what it was asked for.
struct RecipeNode {
  using Array = std::vector<std::unique_ptr<RecipeNode>>;
  struct Table {
    std::vector<std::pair<std::string, std::unique_ptr<RecipeNode>>> items;  // as in the file
    std::set<std::string, std::less<>> asked;
    std::map<std::string, std::string> effective;  // key to canonical value
  };
  std::variant<std::string, int64_t, double, bool, Array, Table> value;
  std::string file, path;  // path: "data.filters", "" at the root
  uint32_t line = 0;

  Table& table() { return std::get<Table>(value); }
  RecipeNode* find(std::string_view key) {
    for (auto& [name, node] : table().items)
      if (name == key) return node.get();
    return nullptr;
  }
};

namespace {

using Node = RecipeNode;

constexpr size_t kRecipeBytesMax = size_t{1} << 20;

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// Null for a date or time: recipes have no use for one.
std::unique_ptr<Node> copy_node(const toml::node& from, const std::string& file, std::string path) {
  auto node = std::make_unique<Node>();
  node->file = file;
  node->line = from.source().begin.line;
  if (const auto* s = from.as_string()) {
    node->value = s->get();
  } else if (const auto* i = from.as_integer()) {
    node->value = i->get();
  } else if (const auto* f = from.as_floating_point()) {
    node->value = f->get();
  } else if (const auto* flag = from.as_boolean()) {
    node->value = flag->get();
  } else if (const auto* array = from.as_array()) {
    Node::Array items;
    for (size_t k = 0; k < array->size(); ++k) {
      items.push_back(copy_node((*array)[k], file, path + "[" + std::to_string(k) + "]"));
      if (!items.back()) return nullptr;
    }
    node->value = std::move(items);
  } else if (const auto* table = from.as_table()) {
    Node::Table copy;
    for (const auto& [key, value] : *table) {
      auto item = copy_node(value, file, join(path, key.str()));
      if (!item) return nullptr;
      copy.items.emplace_back(std::string(key.str()), std::move(item));
    }
    std::stable_sort(copy.items.begin(), copy.items.end(),
                     [](const auto& a, const auto& b) { return a.second->line < b.second->line; });
    node->value = std::move(copy);
  } else {
    return nullptr;
  }
  node->path = std::move(path);
  return node;
}

std::string_view kind_of(const Node& node) {
  constexpr std::string_view kNames[] = {"a string",      "an integer", "a fraction",
                                         "true or false", "a list",     "a table"};
  return kNames[node.value.index()];
}

std::string canonical(const std::string& v) { return json_string(v); }
std::string canonical(bool v) { return v ? "true" : "false"; }
std::string canonical(int64_t v) { return std::to_string(v); }
std::string canonical(int32_t v) { return std::to_string(v); }
std::string canonical(uint64_t v) { return std::to_string(v); }
template <typename T>
std::string shortest(T v) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, v).ptr;
  return std::string(text, end);
}
std::string canonical(double v) { return shortest(v); }
std::string canonical(float v) { return shortest(v); }
template <typename T>
std::string canonical(const std::vector<T>& list) {
  std::string out = "[";
  for (const T& v : list) out += (out.size() > 1 ? ", " : "") + canonical(v);
  return out + "]";
}

Error located(const Node& node, const std::string& what) {
  return errorf("%s:%u: %s: %s", node.file.c_str(), node.line, node.path.c_str(), what.c_str());
}

template <typename T>
Result<T> scalar(const Node& node, std::string_view wanted) {
  if (const T* v = std::get_if<T>(&node.value)) return *v;
  return located(node,
                 "this is " + std::string(kind_of(node)) + " and should be " + std::string(wanted));
}

Result<int64_t> integer(const Node& node, IntRange range) {
  GEIST_ASSIGN(const int64_t v, scalar<int64_t>(node, "an integer"));
  if (v >= range.min && v <= range.max) return v;
  std::string bounds = range.min > std::numeric_limits<int64_t>::min()
                           ? "at least " + std::to_string(range.min)
                           : std::string();
  if (range.max < std::numeric_limits<int64_t>::max())
    bounds += (bounds.empty() ? "" : " and ") + ("at most " + std::to_string(range.max));
  return located(node, std::to_string(v) + " is out of range: it must be " + bounds);
}

Result<double> fraction(const Node& node, FloatRange range) {
  double v = 0;
  if (const auto* i = std::get_if<int64_t>(&node.value)) {
    v = static_cast<double>(*i);
  } else {
    GEIST_ASSIGN(v, scalar<double>(node, "a number"));
  }
  if (std::isfinite(v) && v >= range.min && v <= range.max) return v;
  return located(node, shortest(v) + " is out of range: it must be between " + shortest(range.min) +
                           " and " + shortest(range.max));
}

template <typename T, typename Element>
Result<std::vector<T>> list(const Node& node, std::string_view wanted, Element element) {
  const auto* array = std::get_if<Node::Array>(&node.value);
  if (array == nullptr)
    return located(node, "this is " + std::string(kind_of(node)) + " and should be a list of " +
                             std::string(wanted));
  std::vector<T> out;
  for (const auto& item : *array) {
    GEIST_ASSIGN(T v, element(*item));
    out.push_back(std::move(v));
  }
  return out;
}

// Levenshtein's distance, for suggestions among a few short keys.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string suggestion(std::string_view key, const std::set<std::string, std::less<>>& known) {
  if (key.size() > 64) return {};
  std::string best;
  size_t best_distance = key.size() / 3 + 2;  // farther is no likeness
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(key, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  if (!best.empty()) return "; did you mean '" + best + "'?";
  std::string all;
  for (const std::string& candidate : known) all += (all.empty() ? "" : ", ") + candidate;
  return all.empty() ? std::string() : "; known here: " + all;
}

Status check_read(Node& node) {
  if (auto* array = std::get_if<Node::Array>(&node.value)) {
    for (auto& item : *array)
      if (std::holds_alternative<Node::Table>(item->value)) GEIST_TRY(check_read(*item));
    return {};
  }
  if (!std::holds_alternative<Node::Table>(node.value)) return {};
  const Node::Table& table = node.table();
  for (const auto& [key, item] : table.items) {
    if (!table.asked.contains(key))
      return located(*item, "there is no such key" + suggestion(key, table.asked));
    GEIST_TRY(check_read(*item));
  }
  return {};
}

void collect(Node& node, std::vector<std::string>& lines) {
  if (auto* array = std::get_if<Node::Array>(&node.value)) {
    for (auto& item : *array) collect(*item, lines);
    return;
  }
  if (!std::holds_alternative<Node::Table>(node.value)) return;
  for (const auto& [key, value] : node.table().effective)
    lines.push_back(join(node.path, key) + " = " + value + "\n");
  for (auto& [key, item] : node.table().items) collect(*item, lines);
}

}  // namespace

bool RecipeTable::has(std::string_view key) const { return node_->find(key) != nullptr; }

Error RecipeTable::error(std::string_view key, const std::string& what) const {
  if (const Node* item = node_->find(key)) return located(*item, what);
  return errorf("%s: %s: %s", node_->file.c_str(), join(node_->path, key).c_str(), what.c_str());
}

template <typename T, typename Convert>
Status RecipeTable::read_as(std::string_view key, T* value, Convert convert) const {
  node_->table().asked.emplace(key);
  if (const Node* item = node_->find(key)) {
    auto converted = convert(*item);
    if (!converted.ok()) return converted.error();
    *value = static_cast<T>(std::move(converted).value());
  }
  node_->table().effective[std::string(key)] = canonical(*value);
  return {};
}

Status RecipeTable::read(std::string_view key, int64_t* value, IntRange range) const {
  return read_as(key, value, [&](const Node& n) { return integer(n, range); });
}
Status RecipeTable::read(std::string_view key, int32_t* value, IntRange range) const {
  range.min = std::max<int64_t>(range.min, std::numeric_limits<int32_t>::min());
  range.max = std::min<int64_t>(range.max, std::numeric_limits<int32_t>::max());
  return read_as(key, value, [&](const Node& n) { return integer(n, range); });
}
Status RecipeTable::read(std::string_view key, uint64_t* value) const {
  return read_as(key, value, [&](const Node& n) { return integer(n, {.min = 0}); });
}
Status RecipeTable::read(std::string_view key, double* value, FloatRange range) const {
  return read_as(key, value, [&](const Node& n) { return fraction(n, range); });
}
Status RecipeTable::read(std::string_view key, float* value, FloatRange range) const {
  range.min = std::max<double>(range.min, -std::numeric_limits<float>::max());
  range.max = std::min<double>(range.max, std::numeric_limits<float>::max());
  return read_as(key, value, [&](const Node& n) { return fraction(n, range); });
}
Status RecipeTable::read(std::string_view key, bool* value) const {
  return read_as(key, value, [](const Node& n) { return scalar<bool>(n, "true or false"); });
}
Status RecipeTable::read(std::string_view key, std::string* value) const {
  return read_as(key, value, [](const Node& n) { return scalar<std::string>(n, "a string"); });
}
Status RecipeTable::read(std::string_view key, std::vector<std::string>* value) const {
  return read_as(key, value, [](const Node& n) {
    return list<std::string>(n, "strings",
                             [](const Node& i) { return scalar<std::string>(i, "a string"); });
  });
}
Status RecipeTable::read(std::string_view key, std::vector<int64_t>* value) const {
  return read_as(key, value, [](const Node& n) {
    return list<int64_t>(n, "integers", [](const Node& i) { return integer(i, {}); });
  });
}
Status RecipeTable::read(std::string_view key, std::vector<double>* value) const {
  return read_as(key, value, [](const Node& n) {
    return list<double>(n, "numbers", [](const Node& i) { return fraction(i, {}); });
  });
}

Status RecipeTable::read_choice(std::string_view key, std::string* value,
                                std::initializer_list<std::string_view> choices) const {
  std::string read_value = *value, all;
  GEIST_TRY(read(key, &read_value));
  for (const std::string_view choice : choices) {
    if (choice == read_value) {
      *value = read_value;
      return {};
    }
    all += (all.empty() ? "" : ", ") + std::string(choice);
  }
  return error(key, json_string(read_value) + " is not one of: " + all);
}

Status RecipeTable::require(std::string_view key) const {
  node_->table().asked.emplace(key);
  if (has(key)) return {};
  const std::string where = node_->path.empty() ? std::string("it") : "[" + node_->path + "]";
  return errorf("%s: %s needs the key '%.*s'", node_->file.c_str(), where.c_str(),
                static_cast<int>(key.size()), key.data());
}

Result<RecipeTable> RecipeTable::table(std::string_view key) const {
  node_->table().asked.emplace(key);
  Node* item = node_->find(key);
  if (item == nullptr) {
    auto empty = std::make_unique<Node>();
    empty->value = Node::Table{};
    empty->file = node_->file;
    empty->path = join(node_->path, key);
    item = empty.get();
    node_->table().items.emplace_back(std::string(key), std::move(empty));
  }
  if (!std::holds_alternative<Node::Table>(item->value))
    return located(*item, "this is " + std::string(kind_of(*item)) + " and should be a table");
  return RecipeTable(item);
}

Result<std::vector<RecipeTable>> RecipeTable::tables(std::string_view key) const {
  node_->table().asked.emplace(key);
  std::vector<RecipeTable> out;
  Node* item = node_->find(key);
  if (item == nullptr) return out;
  auto* array = std::get_if<Node::Array>(&item->value);
  if (array == nullptr)
    return located(*item, "this is " + std::string(kind_of(*item)) + " and should be [[" +
                              item->path + "]] tables");
  for (auto& element : *array) {
    if (!std::holds_alternative<Node::Table>(element->value))
      return located(*element, "this should be a table");
    out.push_back(RecipeTable(element.get()));
  }
  return out;
}

Recipe::Recipe(std::unique_ptr<RecipeNode> root) : root_(std::move(root)) {}
Recipe::Recipe(Recipe&&) noexcept = default;
Recipe& Recipe::operator=(Recipe&&) noexcept = default;
Recipe::~Recipe() = default;

Result<Recipe> Recipe::parse(std::string_view toml, const std::string& name) {
  const toml::parse_result parsed = toml::parse(toml, name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return errorf("%s:%u: %.*s", name.c_str(), error.source().begin.line,
                  static_cast<int>(error.description().size()), error.description().data());
  }
  auto root = copy_node(parsed.table(), name, "");
  if (!root) return errorf("%s: dates and times have no use in a recipe; quote them", name.c_str());
  return Recipe(std::move(root));
}

Result<Recipe> Recipe::open(const std::string& path) {
  GEIST_ASSIGN(const std::string text, read_file(path, kRecipeBytesMax));
  return parse(text, path);
}

RecipeTable Recipe::root() const { return RecipeTable(root_.get()); }

Status Recipe::check_all_read() const { return check_read(*root_); }

std::string Recipe::canonical() const {
  std::vector<std::string> lines;
  collect(*root_, lines);
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

std::string Recipe::hash() const {
  const std::string text = canonical();
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

}  // namespace geist::train
