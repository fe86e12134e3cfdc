// One step of training (forward, backward, clipping, AdamW) of a new model on random tokens, timed
// for bench/train/compare.py: a line on standard input asks for a step, its seconds come back.
// With --steps N it makes N steps by itself.
//
// usage: train_step SHAPE BATCH TOKENS [-t THREADS] [--steps N] [--recompute 1] [--keep bf16|f16]
// SHAPE: gpt2-124m, llama-12m, tiny
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "train/gradient.h"
#include "train/new_model.h"
#include "train/optimizer.h"

namespace geist::train {
namespace {

struct Arguments {
  std::string shape;
  int64_t batch = 0, tokens = 0, steps = 0;
  int threads = 0;
  ActivationOptions activations;
};

struct Known {
  const char* name;
  int64_t vocab;
  ModelShape shape;
};

std::vector<Known> known_shapes(int64_t context) {
  ModelShape gpt{.architecture = "gpt2", .layers = 12, .width = 768, .heads = 12};
  ModelShape llama{.architecture = "llama", .layers = 6, .width = 384, .heads = 6};
  llama.feed_forward = 1024;
  ModelShape tiny{.architecture = "llama", .layers = 1, .width = 32, .heads = 2};
  gpt.context = llama.context = tiny.context = context;
  return {{"gpt2-124m", 50257, gpt}, {"llama-12m", 4096, llama}, {"tiny", 100, tiny}};
}

Result<TrainedModel> make_model(const Arguments& arguments, int64_t* vocab) {
  for (const Known& known : known_shapes(arguments.tokens)) {
    if (arguments.shape != known.name) continue;
    *vocab = known.vocab;
    std::vector<std::string> names(static_cast<size_t>(known.vocab), "t");
    const gguf::Metadata tokenizer = {
        {"tokenizer.ggml.tokens", gguf::Value::strings(std::move(names))}};
    GEIST_ASSIGN(const gguf::File file, new_model(known.shape, tokenizer, 1));
    return TrainedModel::make(file);
  }
  return errorf("shape '%s' is not known", arguments.shape.c_str());
}

Status run(const Arguments& arguments) {
  ThreadPool pool(arguments.threads);
  int64_t vocab = 0;
  GEIST_ASSIGN(TrainedModel trained, make_model(arguments, &vocab));
  GEIST_ASSIGN(auto engine, GradientEngine::make(trained, pool, arguments.activations));
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, {}, pool));
  RandomStream random(1, "tokens");
  std::vector<std::vector<text::TokenId>> ids(static_cast<size_t>(arguments.batch));
  std::vector<TrainSequence> sequences;
  for (auto& row : ids) {
    for (int64_t t = 0; t <= arguments.tokens; ++t)
      row.push_back(static_cast<text::TokenId>(random.next_below(static_cast<uint64_t>(vocab))));
    sequences.push_back({row});
  }
  char line[64];
  const auto scale =
      static_cast<float>(1.0 / static_cast<double>(arguments.batch * arguments.tokens));
  for (int64_t step = 0; arguments.steps > 0 ? step < arguments.steps
                                             : std::fgets(line, sizeof line, stdin) != nullptr;
       ++step) {
    const auto begin = std::chrono::steady_clock::now();
    engine->clear();
    GEIST_ASSIGN(const LossSums sums, engine->accumulate(sequences, scale));
    const auto middle = std::chrono::steady_clock::now();
    GEIST_TRY(optimizer.step(step, engine->finish()));
    trained.weights_changed();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    const std::chrono::duration<double> gradient = middle - begin;
    std::printf("%.6f loss %.5f gradient_s %.4f\n", taken.count(), sums.mean(), gradient.count());
    std::fflush(stdout);
  }
  return {};
}

}  // namespace
}  // namespace geist::train

int main(int argc, char** argv) {
  geist::train::Arguments arguments;
  if (argc < 4) {
    std::fprintf(stderr,
                 "usage: train_step SHAPE BATCH TOKENS [-t THREADS] [--steps N] [--recompute 1] "
                 "[--keep bf16|f16]\n");
    return 2;
  }
  arguments.shape = argv[1];
  arguments.batch = std::atoll(argv[2]);
  arguments.tokens = std::atoll(argv[3]);
  for (int i = 4; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "-t") == 0) arguments.threads = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--steps") == 0) arguments.steps = std::atoll(argv[i + 1]);
    if (std::strcmp(argv[i], "--recompute") == 0)
      arguments.activations.recompute = std::atoi(argv[i + 1]) != 0;
    if (std::strcmp(argv[i], "--keep") == 0)
      arguments.activations.type = std::strcmp(argv[i + 1], "bf16") == 0
                                       ? geist::kernels::TensorType::kBF16
                                       : geist::kernels::TensorType::kF16;
  }
  const geist::Status status = geist::train::run(arguments);
  if (!status.ok()) std::fprintf(stderr, "train_step: %s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
