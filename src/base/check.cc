#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace geist::internal {

void check_failed(const char* file, int line, const char* text) noexcept {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\nThis is a bug in Geist, not in your input.\n",
               file, line, text);
  std::abort();
}

}  // namespace geist::internal
