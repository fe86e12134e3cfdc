#include <algorithm>

#include "engine/speculation.h"

namespace geist::engine {
namespace {

class NgramDrafter final : public Drafter {
 public:
  int32_t consider(std::span<const TokenId> tokens) override {
    index_.sync(tokens);
    match_ = index_.longest();
    if (match_.length == 0) return -1;
    return match_.length < 5 ? 0 : match_.length < 9 ? 1 : match_.length < 17 ? 2 : 3;
  }

  void draft(int32_t count, const Sampler&, std::vector<TokenId>& out) override {
    index_.copy(match_, count, out);
  }

 private:
  NgramIndex index_;
  NgramIndex::Match match_;
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(std::unique_ptr<model::Model> model, int32_t vocab_size, ThreadPool& pool)
      : model_(std::move(model)),
        vocab_size_(vocab_size),
        session_(*model_, {}),
        runner_(*model_, pool) {}

  int32_t consider(std::span<const TokenId> tokens) override {
    if (tokens.empty() || static_cast<int32_t>(tokens.size()) >= session_.context_max()) return -1;
    tokens_.assign(tokens.begin(), tokens.end());
    return 2;
  }

  void draft(int32_t count, const Sampler& sampler, std::vector<TokenId>& out) override {
    if (!catch_up()) return;
    Sampler copy = sampler;
    for (int32_t i = 0; i < count; ++i) {
      while (session_.pending() > 0) runner_.pass(session_);
      const TokenId id = copy.sample(session_.logits());
      if (id >= vocab_size_) return;
      copy.accept(id);
      out.push_back(id);
      if (session_.length() >= session_.context_max() || !session_.append(id).ok()) return;
    }
  }

 private:
  // Makes the session's tokens those of the text, with at least the last one to be computed.
  bool catch_up() {
    const auto before = session_.tokens();
    const auto same = std::mismatch(before.begin(), before.end(), tokens_.begin(), tokens_.end());
    const auto kept =
        std::min(static_cast<size_t>(same.first - before.begin()), tokens_.size() - 1);
    session_.truncate(static_cast<int32_t>(kept));
    return session_.append(std::span(tokens_).subspan(kept)).ok();
  }

  std::unique_ptr<model::Model> model_;
  int32_t vocab_size_;  // of the large model
  Session session_;
  Runner runner_;
  std::vector<TokenId> tokens_;
};

}  // namespace

std::unique_ptr<Drafter> make_ngram_drafter() { return std::make_unique<NgramDrafter>(); }

Result<std::unique_ptr<Drafter>> make_model_drafter(std::unique_ptr<model::Model> draft,
                                                    const text::Tokenizer& draft_tokenizer,
                                                    const text::Tokenizer& tokenizer,
                                                    ThreadPool& pool) {
  // Versions of a model may be padded to different sizes; tokens that both have are the same.
  constexpr int32_t kPaddingMax = 128;
  const auto& small = draft_tokenizer.vocabulary().tokens;
  const auto& large = tokenizer.vocabulary().tokens;
  const std::string& name = draft->file().name();
  if (!draft->config().has_logits)
    return errorf("%s: an embedding model cannot draft", name.c_str());
  const size_t shared = std::min(small.size(), large.size());
  if (std::max(small.size(), large.size()) - shared > kPaddingMax)
    return errorf(
        "%s: a vocabulary of %zu tokens, but the model's has %zu; a draft model needs the "
        "same vocabulary",
        name.c_str(), small.size(), large.size());
  for (size_t i = 0; i < shared; ++i)
    if (small[i] != large[i])
      return errorf("%s: token %zu is not the model's; a draft model needs the same vocabulary",
                    name.c_str(), i);
  return std::unique_ptr<Drafter>(
      std::make_unique<ModelDrafter>(std::move(draft), static_cast<int32_t>(large.size()), pool));
}

}  // namespace geist::engine
