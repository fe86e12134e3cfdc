// Replays a fuzz target over its corpus: every file of every directory named on the command line,
// and every prefix-truncated and single-byte-flipped variant of the small ones. The corpus and past
// crashes so become regression tests in every preset, without libFuzzer.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// Copies into an exact-size heap block, so that AddressSanitizer sees a read one past the end.
void run_one(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> exact(data, data + size);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

size_t run_variants(std::vector<uint8_t> bytes) {
  run_one(bytes.data(), bytes.size());
  if (bytes.size() > 4096) return 1;
  const size_t step = bytes.size() / 256 + 1;
  size_t count = 1;
  for (size_t i = 0; i < bytes.size(); i += step) {
    run_one(bytes.data(), i);
    bytes[i] ^= 0xff;
    run_one(bytes.data(), bytes.size());
    bytes[i] ^= 0xff;
    count += 2;
  }
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0, inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      inputs += run_variants({std::istreambuf_iterator<char>(in), {}});
      ++files;
    }
  }
  std::printf("%zu corpus files, %zu inputs, no crash\n", files, inputs);
  return files > 0 ? 0 : 1;
}
