// MemAvailable knows nothing of control groups, and a container that takes more than its group may
// is killed rather than refused: so the limits of the process's group and of every group above it
// count too. Version 1 and 2 of control groups name the same numbers differently (kernel
// documentation, admin-guide/cgroup-v1/memory and cgroup-v2).
#include "base/memory.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/file.h"

namespace geist {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

struct GroupFiles {
  const char *folder, *limit, *usage;
  // Keys of memory.stat, the groups below included.
  const char *inactive_file, *active_file;
};
constexpr GroupFiles kVersion1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                  "memory.usage_in_bytes", "total_inactive_file",
                                  "total_active_file"};
constexpr GroupFiles kVersion2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file",
                                  "active_file"};

// Empty when it cannot be read.
std::string text_of(const std::string& path) {
  auto text = read_file(path, kFileBytesMax);
  return text.ok() ? std::move(text).value() : std::string();
}

std::optional<uint64_t> number_at(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  uint64_t number = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end.ec != std::errc()) return std::nullopt;
  return number;
}

// Calls f(line) for each line without its end.
template <typename F>
void for_lines(std::string_view text, F&& f) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    f(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// The number after a key that begins a line and ends with a separator.
std::optional<uint64_t> number_of(std::string_view text, std::string_view key) {
  std::optional<uint64_t> found;
  for_lines(text, [&](std::string_view line) {
    if (!found && line.starts_with(key)) found = number_at(line.substr(key.size()));
  });
  return found;
}

// What one group's limit leaves; nothing when it has none.
std::optional<uint64_t> room_in(const std::string& folder, const GroupFiles& files) {
  const auto limit = number_at(text_of(folder + "/" + files.limit));
  if (!limit) return std::nullopt;  // "max", or no such group
  const auto usage = number_at(text_of(folder + "/" + files.usage)).value_or(0);
  const std::string stat = text_of(folder + "/memory.stat");
  const uint64_t cache = number_of(stat, std::string(files.inactive_file) + " ").value_or(0) +
                         number_of(stat, std::string(files.active_file) + " ").value_or(0);
  const uint64_t used = usage - std::min(usage, cache);
  return *limit - std::min(*limit, used);
}

// The least room of the groups on the way from `group` up to the root.
uint64_t least_room(const std::string& root, std::string group, const GroupFiles& files) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    if (const auto room = room_in(root + files.folder + group, files))
      least = std::min(least, *room);
    if (group.empty()) return least;
    group.resize(std::min(group.rfind('/'), group.size() - 1));
  }
}

}  // namespace

uint64_t available_memory_bytes(const std::string& root) {
  const auto kib = number_of(text_of(root + "/proc/meminfo"), "MemAvailable:");
  uint64_t least = kib ? *kib * 1024 : UINT64_MAX;
  // Lines are NUMBER:CONTROLLERS:GROUP; version 2 has no controllers there.
  for_lines(text_of(root + "/proc/self/cgroup"), [&](std::string_view line) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string_view::npos) return;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const bool memory =
        ("," + std::string(controllers) + ",").find(",memory,") != std::string::npos;
    if (!memory && !controllers.empty()) return;
    const std::string group(line.substr(second + 1));
    least = std::min(least,
                     least_room(root, group == "/" ? "" : group, memory ? kVersion1 : kVersion2));
  });
  if (least == UINT64_MAX) return 0;
  return std::max<uint64_t>(least, 1);
}

}  // namespace geist
