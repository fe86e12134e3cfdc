// Checks for our own faults. The world's faults (bad files, full disks, bad input) are values:
// see result.h. A CHECK stays on in release builds; a DCHECK, for hot loops, only in builds
// without NDEBUG.
#pragma once

namespace geist::internal {

// Prints "file:line: CHECK failed: text" to standard error and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* text) noexcept;

}  // namespace geist::internal

#define GEIST_CHECK(condition)                       \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::geist::internal::check_failed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define GEIST_DCHECK(condition) static_cast<void>(sizeof(condition))
#else
#define GEIST_DCHECK(condition) GEIST_CHECK(condition)
#endif
