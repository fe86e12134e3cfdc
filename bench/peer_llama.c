// Times llama.cpp on one GGUF file, called as its own programs call it: no script engine is in the
// figures. Prints one line of JSON: {"rates": [tokens/s for each WORK], "backend": what it chose}.
//
// usage: peer_llama LIBRARIES MODEL THREADS REPEATS FIRST WORK...
//
// LIBRARIES: the folder of libllama*.so, libggml*.so and its back ends (bench/peer.py installs
// one).
//
// FIRST: tokens of a prompt that is read, and one token made, before all else; 0 for none. Without
// a WORK this is for who times the whole command.
//
// WORK: prefill:TOKENS:DEPTH:1 or decode:TOKENS:DEPTH:SEQUENCES. DEPTH tokens are read before the
// clock starts; the median of REPEATS runs counts.
//
// build: cc -O2 -o peer_llama peer_llama.c -ldl    (compare.py does)
//
// The package has no header. Its structures are passed by value and differ between releases, so
// only what has been the same for years is named here: the first fields of the context's
// parameters, which are asked back after the context is made, and llama_batch. All else keeps the
// library's defaults (weights mapped and repacked, F16 keys and values, flash attention where it
// has it).
#include <dirent.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {  // larger than any release's: the library reads and writes the front of it
  uint32_t n_ctx, n_batch, n_ubatch, n_seq_max;
  char rest[1024];
} ContextParams;
typedef struct {
  char all[1024];
} ModelParams;
typedef struct {
  int32_t n_tokens;
  int32_t* token;
  float* embd;
  int32_t *pos, *n_seq_id, **seq_id;
  int8_t* logits;
} Batch;
typedef void Model;
typedef void Context;
typedef void Log(int level, const char* text, void* user);

enum { kBatchMax = 512, kRepeatsMax = 64 };

static void die(const char* what, const char* which) {
  fprintf(stderr, "peer_llama: %s%s\n", what, which);
  exit(1);
}

static void* libraries[2];  // libllama, libggml: what they link is found through them

static void* open_library(const char* folder, const char* prefix) {
  DIR* const dir = opendir(folder);
  if (!dir) die("no folder ", folder);
  char path[4096] = "";
  for (struct dirent* e; (e = readdir(dir));)
    if (!strncmp(e->d_name, prefix, strlen(prefix)) && strstr(e->d_name, ".so"))
      snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
  closedir(dir);
  if (!path[0]) die("no library of the name ", prefix);
  void* const library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (!library) die("", dlerror());
  return library;
}

static void* symbol(const char* name) {
  for (int i = 0; i < 2; ++i) {
    void* const found = dlsym(libraries[i], name);
    if (found) return found;
  }
  die("the library has no ", name);
  return NULL;
}
// CALL(type, name, parameters)(arguments) calls a function of the library by its name.
#define CALL(type, name, ...) ((type(*)(__VA_ARGS__))symbol(#name))

static void quiet(int level, const char* text, void* user) {
  (void)user;
  if (level == 4) fputs(text, stderr);  // errors
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static Model* model;
static int threads, vocabulary;
static void* (*new_threadpool)(void*);

static int32_t some_token(int i) { return 300 + (int32_t)((int64_t)i * 7919 % (vocabulary - 300)); }

static void load(const char* folder, const char* path) {
  libraries[0] = open_library(folder, "libllama.");
  libraries[1] = open_library(folder, "libggml.");
  CALL(void, llama_log_set, Log*, void*)(quiet, NULL);
  CALL(void, ggml_backend_load_all_from_path, const char*)(folder);
  CALL(void, llama_backend_init, void)();
  const ModelParams params = CALL(ModelParams, llama_model_default_params, void)();
  model = CALL(Model*, llama_model_load_from_file, const char*, ModelParams)(path, params);
  if (!model) die("llama.cpp cannot load ", path);
  const void* const vocab = CALL(const void*, llama_model_get_vocab, const Model*)(model);
  vocabulary = CALL(int32_t, llama_vocab_n_tokens, const void*)(vocab);
  if (vocabulary <= 300) die("too small a vocabulary in ", path);
  void* const cpu = CALL(void*, ggml_backend_reg_by_name, const char*)("CPU");
  if (!cpu) die("no processor back end in ", folder);
  new_threadpool = (void* (*)(void*))CALL(void*, ggml_backend_reg_get_proc_address, void*,
                                          const char*)(cpu, "ggml_threadpool_new");
}

// With its worker threads waiting, as llama.cpp's own programs do; without, it starts them anew for
// every pass.
static Context* make_context(uint32_t tokens, uint32_t sequences) {
  ContextParams params = CALL(ContextParams, llama_context_default_params, void)();
  params.n_ctx = tokens + 64;
  params.n_batch = params.n_ubatch = kBatchMax;
  params.n_seq_max = sequences;
  Context* const context =
      CALL(Context*, llama_init_from_model, Model*, ContextParams)(model, params);
  if (!context) die("llama.cpp cannot make a context", "");
  const uint32_t n_ctx = CALL(uint32_t, llama_n_ctx, const Context*)(context);
  if (n_ctx < tokens || n_ctx > tokens + 64 + 256 * sequences ||  // it rounds up by sequence
      CALL(uint32_t, llama_n_batch, const Context*)(context) !=
          (params.n_ctx < kBatchMax ? params.n_ctx : kBatchMax) ||
      CALL(uint32_t, llama_n_seq_max, const Context*)(context) != sequences)
    die("this release lays out its parameters in another way", "");
  CALL(void, llama_set_n_threads, Context*, int32_t, int32_t)(context, threads, threads);
  static void* pool = NULL;
  if (!pool && new_threadpool) {
    char settings[2048];
    memset(settings, 0, sizeof settings);
    CALL(void, ggml_threadpool_params_init, void*, int)(settings, threads);
    pool = new_threadpool(settings);
  }
  if (pool) CALL(void, llama_attach_threadpool, Context*, void*, void*)(context, pool, pool);
  return context;
}

static void free_context(Context* context) { CALL(void, llama_free, Context*)(context); }

// Runs a batch and waits for it.
static void decode(Context* context, Batch batch) {
  if (CALL(int32_t, llama_decode, Context*, Batch)(context, batch))
    die("llama.cpp cannot run a batch", "");
  CALL(void, llama_synchronize, Context*)(context);
}

static void add(Batch* batch, int32_t token, int32_t pos, int32_t sequence, int wanted) {
  const int i = batch->n_tokens++;
  batch->token[i] = token, batch->pos[i] = pos, batch->logits[i] = (int8_t)wanted;
  batch->n_seq_id[i] = 1, batch->seq_id[i][0] = sequence;
}

// Reads `count` tokens into a sequence from position `first` on; logits of the last.
static void read_tokens(Context* context, Batch* batch, int first, int count, int sequence) {
  for (int i = 0; i < count;) {
    batch->n_tokens = 0;
    for (; i < count && batch->n_tokens < kBatchMax; ++i)
      add(batch, some_token(first + i + sequence), first + i, sequence, i + 1 == count);
    decode(context, *batch);
  }
}

static int32_t likeliest(Context* context, int row) {
  const float* const logits = CALL(float*, llama_get_logits_ith, Context*, int32_t)(context, row);
  int32_t best = 0;
  for (int32_t i = 1; i < vocabulary; ++i)
    if (logits[i] > logits[best]) best = i;
  return best;
}

static void forget(Context* context, int sequence, int from) {
  void* const memory = CALL(void*, llama_get_memory, const Context*)(context);
  CALL(char, llama_memory_seq_rm, void*, int32_t, int32_t, int32_t)(memory, sequence, from, -1);
}

static double median(double* values, int count) {
  qsort(values, (size_t)count, sizeof *values, by_value);
  return values[count / 2];
}

static double time_prefill(Batch* batch, int tokens, int depth, int repeats) {
  double rates[kRepeatsMax];
  Context* const context = make_context((uint32_t)(tokens + depth), 1);
  if (depth > 0) read_tokens(context, batch, 0, depth, 0);
  for (int i = 0; i < repeats; ++i) {
    forget(context, 0, depth);
    const double start = seconds();
    read_tokens(context, batch, depth, tokens, 0);
    rates[i] = tokens / (seconds() - start);
  }
  free_context(context);
  return median(rates, repeats);
}

// Greedy steps of all sequences side by side, after their prompts.
static double time_decode(Batch* batch, int tokens, int depth, int sequences, int repeats) {
  double rates[kRepeatsMax];
  int32_t next[kBatchMax];
  Context* const context =
      make_context((uint32_t)((depth + tokens + 8) * sequences), (uint32_t)sequences);
  for (int i = 0; i < repeats; ++i) {
    for (int s = 0; s < sequences; ++s) {
      forget(context, s, 0);
      read_tokens(context, batch, 0, depth + 1, s);
      next[s] = likeliest(context, -1);
    }
    const double start = seconds();
    for (int step = 0; step < tokens; ++step) {
      batch->n_tokens = 0;
      for (int s = 0; s < sequences; ++s) add(batch, next[s], depth + 1 + step, s, 1);
      decode(context, *batch);
      for (int s = 0; s < sequences; ++s) next[s] = likeliest(context, s);
    }
    rates[i] = (double)tokens * sequences / (seconds() - start);
  }
  free_context(context);
  return median(rates, repeats);
}

int main(int argc, char** argv) {
  if (argc < 6) die("usage: peer_llama LIBRARIES MODEL THREADS REPEATS FIRST WORK...", "");
  threads = atoi(argv[3]);
  const int repeats = atoi(argv[4]), first = atoi(argv[5]);
  if (threads < 1 || repeats < 1 || repeats > kRepeatsMax || first < 0)
    die("THREADS, REPEATS or FIRST are off", "");
  load(argv[1], argv[2]);
  Batch batch = CALL(Batch, llama_batch_init, int32_t, int32_t, int32_t)(kBatchMax, 0, 1);
  if (first > 0) {
    Context* const context = make_context((uint32_t)first, 1);
    read_tokens(context, &batch, 0, first, 0);
    likeliest(context, -1);
    free_context(context);
  }
  printf("{\"rates\": [");
  if (argc > 6) time_prefill(&batch, 64, 0, 1);  // warm-up: page cache, repacking
  for (int i = 6; i < argc; ++i) {
    char kind[16];
    int tokens, depth, sequences;
    if (sscanf(argv[i], "%15[a-z]:%d:%d:%d", kind, &tokens, &depth, &sequences) != 4 ||
        tokens < 1 || depth < 0 || sequences < 1 || sequences > kBatchMax)
      die("not a work: ", argv[i]);
    const double rate = !strcmp(kind, "prefill")
                            ? time_prefill(&batch, tokens, depth, repeats)
                            : time_decode(&batch, tokens, depth, sequences, repeats);
    printf("%s%.4f", i > 6 ? ", " : "", rate);
  }
  printf("], \"backend\": \"%s\"}\n", CALL(const char*, llama_print_system_info, void)());
  return 0;
}
