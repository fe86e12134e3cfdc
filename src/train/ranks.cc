#include "train/ranks.h"

#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>

namespace geist::train {
namespace {

constexpr int64_t kAlign = 4096;  // elements

// What the launchers that we know tell a process: how many there are.
bool started_as_one_of_several() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && std::atoi(value) > 1) return true;
  }
  return false;
}

}  // namespace

Status Ranks::check() const {
  if (std::has_single_bit(static_cast<unsigned>(count()))) return {};
  return errorf("%d processes; training takes a power of two of them", count());
}

Result<std::unique_ptr<Ranks>> Ranks::join() {
  if (!started_as_one_of_several()) return std::unique_ptr<Ranks>();
  std::error_code failed;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
  const std::string path = (program.parent_path() / "geist_mpi.so").string();
  // Global: MPI loads parts of its own that look for its symbols.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (module == nullptr)
    return errorf(
        "started as one of several processes, and %s cannot be loaded: build with Open MPI "
        "(libopenmpi-dev)",
        path.c_str());
  const auto join =
      reinterpret_cast<decltype(&geist_join_ranks)>(dlsym(module, "geist_join_ranks"));
  RankTransport transport{};
  if (join == nullptr || join(&transport) != 0)
    return errorf("%s: MPI does not start", path.c_str());
  return std::make_unique<Ranks>(transport);
}

std::vector<Ranks::Part> Ranks::buckets(int64_t size) const {
  std::vector<Part> list;
  const int64_t step = part_floats_ * count();
  for (int64_t begin = 0; begin < size; begin += step)
    list.push_back({begin, std::min(size, begin + step)});
  return list;
}

// Of two ranks that differ in `bit`, the one without it has the lower half.
Ranks::Part Ranks::half(Part part, int bit, bool mine) const {
  const int64_t rounded = (part.size() / 2 + kAlign - 1) / kAlign * kAlign;
  const int64_t middle = std::min(part.end, part.begin + rounded);
  const bool upper = ((rank() & bit) != 0) == mine;
  return upper ? Part{middle, part.end} : Part{part.begin, middle};
}

Ranks::Part Ranks::own_part(Part bucket) const {
  for (int bit = 1; bit < count(); bit *= 2) bucket = half(bucket, bit, true);
  return bucket;
}

void Ranks::exchange(int peer, std::span<const float> send, std::span<float> receive) {
  transport_.exchange(transport_.context, peer, send.data(), send.size_bytes(), receive.data(),
                      receive.size_bytes());
}

namespace {

std::span<float> part_of(float* values, Ranks::Part part) {
  return {values + part.begin, static_cast<size_t>(part.size())};
}

}  // namespace

void Ranks::reduce(const kernels::Kernels& kernels, float* values, Part bucket) {
  for (int bit = 1; bit < count(); bit *= 2) {
    const Part keep = half(bucket, bit, true), give = half(bucket, bit, false);
    received_.resize(static_cast<size_t>(keep.size()));
    exchange(rank() ^ bit, part_of(values, give), received_);
    float* own = values + keep.begin;
    kernels.add(own, received_.data(), keep.size(), own);
    bucket = keep;
  }
}

void Ranks::gather(std::span<float> values) {
  for (const Part& bucket : buckets(static_cast<int64_t>(values.size()))) {
    std::vector<Part> parts = {bucket};
    for (int bit = 1; bit < count(); bit *= 2) parts.push_back(half(parts.back(), bit, true));
    for (int bit = count() / 2; bit > 0; bit /= 2) {
      const Part own = parts.back();
      parts.pop_back();
      exchange(rank() ^ bit, part_of(values.data(), own),
               part_of(values.data(), half(parts.back(), bit, false)));
    }
  }
}

void Ranks::collect(std::span<float> values) {
  for (const Part& bucket : buckets(static_cast<int64_t>(values.size()))) {
    if (!is_first()) {
      exchange(0, part_of(values.data(), own_part(bucket)), {});
      continue;
    }
    for (int peer = 1; peer < count(); ++peer) {
      RankTransport as_peer = transport_;
      as_peer.rank = peer;
      exchange(peer, {}, part_of(values.data(), Ranks(as_peer, part_floats_).own_part(bucket)));
    }
  }
}

void Ranks::add(std::span<double> values) {
  std::vector<double> received(values.size());
  for (int bit = 1; bit < count(); bit *= 2) {
    transport_.exchange(transport_.context, rank() ^ bit, values.data(), values.size_bytes(),
                        received.data(), values.size_bytes());
    for (size_t i = 0; i < values.size(); ++i) values[i] += received[i];
  }
}

}  // namespace geist::train
