// How much memory there is to take.
#pragma once

#include <cstdint>
#include <string>

namespace geist {

// Bytes of memory that a new allocation can take without swapping: of the machine (MemAvailable),
// or less where a control group (a container) sets a limit; pages of the file cache count as free.
// 0 if unknown. `root` is where /proc and /sys lie, "" but in tests.
uint64_t available_memory_bytes(const std::string& root = "");

}  // namespace geist
