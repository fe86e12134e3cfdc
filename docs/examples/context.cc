// Two people ask about the same document (docs/context.md): its keys and values are computed once.
//   example_context MODEL.gguf FOLDER
#include <cstdio>
#include <string>

#include "engine/prompt.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/weights_digest.h"
#include "model/load_tokenizer.h"

using namespace geist;

static Status run(const std::string& path, const std::string& folder) {
  GEIST_ASSIGN(gguf::File file, gguf::File::open(path));
  ThreadPool pool;
  GEIST_ASSIGN(const auto model, model::Model::load(std::move(file), {.pool = &pool}));
  GEIST_ASSIGN(const auto tokenizer, model::load_tokenizer(model->file().metadata()));

  // Pages live in 256 MB of memory, and in a folder that survives the program.
  GEIST_ASSIGN(const auto store, engine::PageStore::open(folder));
  engine::Memory memory(*model, {.budget_bytes = 256 << 20,
                                 .store = store.get(),
                                 .weights = engine::weights_digest(model->file(), pool)});
  engine::Runner runner(*model, pool);
  engine::Scheduler scheduler(runner, {.latency_max_s = 0.2});

  engine::SamplerOptions greedy;
  greedy.temperature = 0;
  const std::string document(300, 'a');  // several pages, the same for both
  const auto ask = [&](engine::Session& session, const std::string& question) -> Status {
    GEIST_TRY(session.append(engine::encode_prompt(tokenizer, document + question)));
    scheduler.add(session, [&](engine::Session& s) {
      const auto id = engine::Sampler(greedy).sample(s.logits());
      return !tokenizer.is_end(id) && s.length() < 330 && s.append(id).ok();
    });
    return {};
  };
  engine::Session alice(*model, {.context_max = 400, .memory = &memory});
  engine::Session bob(*model, {.context_max = 400, .memory = &memory});
  GEIST_TRY(ask(alice, " who wrote it"));
  GEIST_TRY(ask(bob, " what is it about"));
  while (scheduler.step()) {
  }
  std::printf("%llu tokens were shared; %d pages are kept\n",
              static_cast<unsigned long long>(memory.stats().tokens_shared), memory.save(bob));
  return {};
}

int main(int argc, char** argv) {
  const Status status = argc == 3 ? run(argv[1], argv[2]) : errorf("MODEL.gguf FOLDER, please");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
