#include "model/hf_names.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace geist::model {
namespace {

// Where row r of the result comes from. HALF is half of a head: GGUF's pair (2i, 2i + 1) is (i, i +
// half) here.
int64_t rope_row(int64_t r, int64_t head_rows) {
  const int64_t in_head = r % head_rows;
  return r - in_head + in_head / 2 + in_head % 2 * (head_rows / 2);
}

// [group][q_per_group heads of q, k, v][n] to [q; k; v].
int64_t qkv_row(int64_t r, int64_t groups, int64_t q_per_group, int64_t n) {
  const int64_t q_rows = groups * q_per_group * n, kv_rows = groups * n;
  int64_t head = 0, group = 0;
  if (r < q_rows) {
    group = r / n / q_per_group;
    head = r / n % q_per_group;
  } else {
    group = (r - q_rows) % kv_rows / n;
    head = q_per_group + (r - q_rows) / kv_rows;
  }
  return (group * (q_per_group + 2) + head) * n + r % n;
}

}  // namespace

HfName parse_hf_name(std::string name, std::string_view prefix) {
  // Models of text inside models of several modalities: "language_model.model.x" or
  // "model.language_model.x".
  if (const auto at = name.find("language_model."); at != std::string::npos) name.erase(at, 15);
  if (prefix != "bert." && name.starts_with("bert.")) name.erase(0, 5);
  if (!prefix.empty() && !name.starts_with(prefix) && !name.starts_with("lm_head"))
    name.insert(0, prefix);
  HfName parsed;
  for (const std::string_view ending : {".weight", ".bias"})
    if (name.ends_with(ending)) {
      parsed.ending = ending;
      name.resize(name.size() - ending.size());
      break;
    }
  for (size_t i = 0; i < name.size();) {
    size_t end = i;
    while (end < name.size() && end - i < 6 && std::isdigit(static_cast<unsigned char>(name[end])))
      ++end;
    const bool whole =
        end > i && (i == 0 || name[i - 1] == '.') && (end == name.size() || name[end] == '.');
    if (whole) {
      parsed.numbers.push_back(std::stol(name.substr(i, end - i)));
      parsed.pattern += '#';
    } else {
      end = std::max(end, i + 1);
      parsed.pattern.append(name, i, end - i);
    }
    i = end;
  }
  return parsed;
}

std::string gguf_name(std::string_view rule, const HfName& parsed) {
  std::string name;
  for (const char c : rule) {
    if (c == '#') {
      name += std::to_string(parsed.numbers[0]);
    } else {
      name += c;
    }
  }
  return name + parsed.ending;
}

Status choose_hf_rows(TensorOp op, int64_t heads, int64_t kv_heads, const std::string& file,
                      TensorRecipe* recipe) {
  const gguf::SafeTensor& tensor = *recipe->sources[0];
  const auto fault = [&](const char* what) {
    return errorf("%s: tensor '%.200s' %s", file.c_str(), tensor.name.c_str(), what);
  };
  const int64_t rows = tensor.shape[0];
  recipe->row_length = tensor.elements() / rows;
  if (op == TensorOp::kRopeQ || op == TensorOp::kRopeK) {
    const int64_t count = op == TensorOp::kRopeQ ? heads : kv_heads;
    if (rows % count != 0 || rows / count % 2 != 0)
      return fault("does not have a whole, even number of rows a head");
    recipe->row_of = [n = rows / count](int64_t r) { return std::pair(size_t{0}, rope_row(r, n)); };
    return {};
  }
  const int64_t groups = op == TensorOp::kQkvByHead ? heads : kv_heads;
  const int64_t q_per_group = heads / groups;
  if (heads % groups != 0 || rows % (groups * (q_per_group + 2)) != 0)
    return fault("does not have a whole number of rows a head");
  const int64_t n = rows / (groups * (q_per_group + 2));
  recipe->row_of = [=](int64_t r) {
    return std::pair(size_t{0}, qkv_row(r, groups, q_per_group, n));
  };
  return {};
}

}  // namespace geist::model
