// The run file's own functions, for tests: the whole of run/geist.c but for its main().
#include <math.h>
#define main run_file_main
#include "run/geist.c"
#undef main
#include "tests/support/run_file_probe.h"

float probe_fma32(float a, float b, float c) { return fma32(a, b, c); }
float probe_exp32(float x) { return exp32(x); }
float probe_sqrt32(float x) { return sqrt32(x); }
double probe_exp64(double x) { return exp64(x, 0); }
double probe_pow64(double x, double y) { return pow64(x, y); }
double probe_sin64(double x) { return sin64(x, 0); }
double probe_cos64(double x) { return sin64(x, 1); }
int probe_class_of(uint32_t code_point) { return class_of(code_point); }

void probe_open_vocabulary(const char* file) {
  path = file;
  open_file();
  embedding.rows = 1 << 24;  // there are no tensors to bound the number of tokens
  load_vocabulary();
  unk = special_id("tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
}
size_t probe_encode(const char* text, size_t size, int raw, const int** out) {
  id_count = 0;
  encode((Text){text, size}, raw,
         spm ? (u64)number("tokenizer.ggml.add_space_prefix", 0, 1, 1) : 0);
  *out = ids;
  return id_count;
}
