#include "train/checkpoint.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/hash.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using gguf::Value;

constexpr const char* kStepKey = "geist.train.step";
constexpr const char* kRecipeKey = "geist.train.recipe_sha256";
constexpr const char* kObjectiveKey = "geist.train.objective_state";
constexpr const char* kHashKey = "geist.train.state_sha256";

struct Section {
  const char* name;  // of the tensor
  FloatBlock* block;
};

// The flat blocks beside the weights.
std::vector<Section> sections(Optimizer& optimizer) {
  std::vector<Section> list = {{"train.first_moment", &optimizer.first()},
                               {"train.second_moment", &optimizer.second()}};
  if (optimizer.has_average()) list.push_back({"train.average", &optimizer.averaged()});
  return list;
}

std::span<const std::byte> bytes_of(const TrainedModel& trained, const Parameter& p) {
  return std::as_bytes(
      std::span(trained.weights().data() + p.offset, static_cast<size_t>(p.count)));
}

// Doubles as the hexadecimal of their bits.
std::string objective_text(const CheckpointState& state) {
  std::string text;
  for (const double value : state.objective) {
    char hex[20];
    std::snprintf(hex, sizeof hex, "%016llx ",
                  static_cast<unsigned long long>(std::bit_cast<uint64_t>(value)));
    text += hex;
  }
  return text;
}

bool parse_objective(const std::string& text, std::vector<double>* state) {
  for (size_t at = 0; at < text.size(); at += 17) {
    uint64_t bits = 0;
    const char* first = text.data() + at;
    if (text.size() - at < 17 || std::from_chars(first, first + 16, bits, 16).ptr != first + 16)
      return false;
    state->push_back(std::bit_cast<double>(bits));
  }
  return true;
}

std::string header_text(const CheckpointState& state) {
  return std::to_string(state.step) + " " + state.recipe_hash + objective_text(state);
}

void remove_older(const std::string& folder, int64_t step, int keep) {
  std::vector<std::string> all = list_checkpoints(folder);
  std::erase_if(all, [&](const auto& path) { return path > checkpoint_path(folder, step); });
  std::error_code ignored;  // a file that stays does no harm
  for (size_t i = static_cast<size_t>(std::max(keep, 1)); i < all.size(); ++i)
    fs::remove(all[i], ignored);
}

bool all_finite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (const float x : values) bad |= (std::bit_cast<uint32_t>(x) & kExponent) == kExponent;
  return bad == 0;
}

}  // namespace

std::string checkpoint_path(const std::string& folder, int64_t step) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%08lld.gguf", static_cast<long long>(step));
  return (fs::path(folder) / name).string();
}

std::vector<std::string> list_checkpoints(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(folder, missing)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-") && name.ends_with(".gguf"))
      found.push_back(entry.path().string());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

std::string not_finite_in(const TrainedModel& trained, Optimizer& optimizer) {
  for (const Parameter& p : trained.parameters())
    if (!all_finite({trained.weights().data() + p.offset, static_cast<size_t>(p.count)}))
      return p.name;
  for (const Section& s : sections(optimizer))
    if (!all_finite(s.block->span())) return s.name;
  return "";
}

Status write_checkpoint(const std::string& folder, const CheckpointState& state,
                        const TrainedModel& trained, Optimizer& optimizer, int keep) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return errorf("%s: cannot be made: %s", folder.c_str(), failed.message().c_str());
  std::vector<gguf::TensorToWrite> list;
  Sha256 hash;
  const std::string head = header_text(state);
  hash.update(std::as_bytes(std::span(head)));
  for (const Parameter& p : trained.parameters()) {
    list.push_back({p.name, kernels::TensorType::kF32, p.dims});
    hash.update(bytes_of(trained, p));
  }
  for (const Section& s : sections(optimizer)) {
    list.push_back({s.name, kernels::TensorType::kF32, {s.block->size()}});
    hash.update(s.block->bytes());
  }
  gguf::Metadata metadata = trained.metadata();
  metadata[kStepKey] = Value::u64(static_cast<uint64_t>(state.step));
  metadata[kRecipeKey] = Value::string(state.recipe_hash);
  if (!state.objective.empty()) metadata[kObjectiveKey] = Value::string(objective_text(state));
  metadata[kHashKey] = Value::string(to_hex(hash.finish()));
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(checkpoint_path(folder, state.step),
                                                         metadata, std::move(list)));
  for (const Parameter& p : trained.parameters())
    GEIST_TRY(writer.write_tensor(bytes_of(trained, p)));
  for (const Section& s : sections(optimizer)) GEIST_TRY(writer.write_tensor(s.block->bytes()));
  GEIST_TRY(writer.commit());
  remove_older(folder, state.step, keep);
  return {};
}

Result<CheckpointState> read_checkpoint(const std::string& path, TrainedModel& trained,
                                        Optimizer& optimizer) {
  GEIST_ASSIGN(const gguf::File file, gguf::File::open(path));
  const auto damaged = [&](const std::string& what) {
    return errorf("%s: %s; this checkpoint cannot be used", path.c_str(), what.c_str());
  };
  GEIST_ASSIGN(const auto step, gguf::get_int(file.metadata(), kStepKey));
  GEIST_ASSIGN(const auto recipe, gguf::get_string(file.metadata(), kRecipeKey));
  GEIST_ASSIGN(const auto expected, gguf::get_string(file.metadata(), kHashKey));
  if (!step || *step < 0 || !recipe || !expected)
    return damaged("not a checkpoint of a training run");
  CheckpointState state{*step, *recipe};
  GEIST_ASSIGN(const auto objective, gguf::get_string(file.metadata(), kObjectiveKey));
  if (objective && !parse_objective(*objective, &state.objective))
    return damaged("the state of its objective cannot be read");

  // Everything is found and hashed before anything is copied.
  Sha256 hash;
  const std::string head = header_text(state);
  hash.update(std::as_bytes(std::span(head)));
  struct Copy {
    float* to;
    std::span<const std::byte> from;
  };
  std::vector<Copy> copies;
  const auto take = [&](const std::string& name, float* to, int64_t count) -> Status {
    const gguf::Tensor* tensor = file.find(name);
    if (tensor == nullptr || tensor->type != kernels::TensorType::kF32 ||
        tensor->elements() != count)
      return damaged("'" + name + "' is not what this model has");
    copies.push_back({to, tensor->data});
    hash.update(tensor->data);
    return {};
  };
  for (const Parameter& p : trained.parameters())
    GEIST_TRY(take(p.name, trained.weights().data() + p.offset, p.count));
  for (const Section& s : sections(optimizer))
    GEIST_TRY(take(s.name, s.block->data(), s.block->size()));
  if (to_hex(hash.finish()) != *expected) return damaged("its checksum does not fit its contents");
  for (const Copy& copy : copies) std::memcpy(copy.to, copy.from.data(), copy.from.size());
  trained.weights_changed();
  return state;
}

}  // namespace geist::train
