// Two questions about one document: its keys and values are computed once, and after a restart
// not at all (docs/context.md).   example_context MODEL.gguf FOLDER
#include <iostream>
#include <string>

#include "engine/prompt.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/weights_digest.h"
#include "model/load_tokenizer.h"

using namespace geist;

static Status run(const char* path, const char* folder) {
  ThreadPool pool;
  GEIST_ASSIGN(gguf::File file, gguf::File::open(path));
  GEIST_ASSIGN(const auto model, model::Model::load(std::move(file), {.pool = &pool}));
  GEIST_ASSIGN(const auto tokenizer, model::load_tokenizer(model->file().metadata()));
  GEIST_ASSIGN(const auto store, engine::PageStore::open(folder));
  const auto digest = engine::weights_digest(model->file(), pool);
  engine::Memory memory(*model, {.store = store.get(), .weights = digest});
  engine::Runner runner(*model, pool);
  for (const char* question : {" who wrote it", " what is it about"}) {
    engine::Session session(*model, {.context_max = 400, .memory = &memory});
    GEIST_TRY(session.append(engine::encode_prompt(tokenizer, std::string(300, 'a') + question)));
    while (session.length() < 330) {
      while (session.pending() > 0) runner.pass(session);
      GEIST_TRY(session.append(engine::Sampler({.temperature = 0}).sample(session.logits())));
    }
    std::cout << memory.stats().tokens_shared << " tokens were shared; ";
    std::cout << memory.save(session) << " pages are kept\n";
  }
  return {};
}

int main(int argc, char** argv) {
  const Status status = argc == 3 ? run(argv[1], argv[2]) : errorf("MODEL.gguf FOLDER, please");
  if (!status.ok()) std::cerr << status.error().message << "\n";
  return status.ok() ? 0 : 1;
}
