// Writes the tiny model of support/tiny_model.h, for tests that need a file: make_tiny_model PATH.
#include <cstdio>

#include "tests/support/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: make_tiny_model PATH\n", stderr), 2;
  const geist::Status status = geist::testing::write_tiny_model(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
