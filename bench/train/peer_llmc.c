// The steps of train_step in llm.c, by hand: a line on standard input asks for a step, its seconds
// come back. llm.c's train_gpt2.c is included from a clone of it:
//
// clang-format off
//   cc -O3 -ffast-math -fno-finite-math-only -march=native -fopenmp -DTESTING -DOMP -I LLM.C bench/train/peer_llmc.c -lm -o peer_llmc
// clang-format on
//
// usage: peer_llmc gpt2-124m BATCH TOKENS THREADS
#include "train_gpt2.c"

// Only the shapes of a checkpoint matter here: weights are drawn.
static void write_checkpoint(const char* path) {
  GPT2 model = {.config = {1024, 50257, 50304, 12, 12, 768}};
  int header[256] = {20240326, 3, 1024, 50257, 12, 12, 768, 50304};
  fill_in_parameter_sizes(model.param_sizes, model.config);
  FILE* file = fopenCheck(path, "wb");
  fwrite(header, sizeof(int), 256, file);
  srand(1);
  for (int i = 0; i < NUM_PARAMETER_TENSORS; ++i) {
    for (size_t j = 0; j < model.param_sizes[i]; ++j) {
      const float w = 0.04f * ((float)rand() / (float)RAND_MAX - 0.5f);
      fwrite(&w, sizeof w, 1, file);
    }
  }
  fcloseCheck(file);
}

int main(int argc, char** argv) {
  if (argc < 5 || strcmp(argv[1], "gpt2-124m") != 0) {
    fprintf(stderr, "usage: peer_llmc gpt2-124m BATCH TOKENS THREADS\n");
    return 2;
  }
  const int batch = atoi(argv[2]), tokens = atoi(argv[3]), count = batch * tokens;
#ifdef OMP
  omp_set_num_threads(atoi(argv[4]));
#endif
  char path[] = "/tmp/peer_llmc.XXXXXX";
  const int handle = mkstemp(path);
  if (handle < 0) return 1;
  close(handle);
  write_checkpoint(path);
  GPT2 model;
  FILE* answers = fdopen(dup(1), "w");
  if (freopen("/dev/null", "w", stdout) == NULL) return 1;  // what llm.c says of itself
  gpt2_build_from_checkpoint(&model, path);
  unlink(path);
  int* ids = mallocCheck(sizeof(int) * (size_t)(count + 1));
  for (int i = 0; i <= count; ++i) ids[i] = rand() % 50257;
  char line[64];
  for (int step = 1; fgets(line, sizeof line, stdin) != NULL; ++step) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    gpt2_forward(&model, ids, ids + 1, (size_t)batch, (size_t)tokens);
    gpt2_zero_grad(&model);
    gpt2_backward(&model);
    gpt2_update(&model, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, step);
    clock_gettime(CLOCK_MONOTONIC, &end);
    fprintf(answers, "%.6f loss %.5f\n",
            (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec),
            model.mean_loss);
    fflush(answers);
  }
  return 0;
}
