#include "engine/scheduler.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace geist::engine {
namespace {

constexpr int32_t kFirstPrefill = 32;     // tokens beside decoding before anything was measured
constexpr int32_t kDecodeTokensMax = 16;  // more pending ones are prefill again (a new turn)
constexpr double kFade = 0.8;
constexpr double kReadShare = 0.25;  // of the latency, where pages may have to be read
constexpr int32_t kTurnLogits = 16;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double faded(double mean, double value) {
  return mean > 0 ? kFade * mean + (1 - kFade) * value : value;
}

}  // namespace

Scheduler::Scheduler(Runner& runner, SchedulerOptions options)
    : runner_(&runner), options_(std::move(options)) {
  GEIST_CHECK(options_.pass_tokens_max > 0 && options_.prefill_tokens_min > 0 &&
              options_.passes_per_priority > 0);
  if (!options_.clock) options_.clock = steady_seconds;
}

Scheduler::RequestId Scheduler::add(Session& session, OnLogits on_logits, int32_t priority) {
  GEIST_CHECK(session.pending() > 0);
  requests_.push_back({next_id_, &session, std::move(on_logits), priority, session.pending()});
  return next_id_++;
}

bool Scheduler::cancel(RequestId id) {
  const auto found = std::find_if(requests_.begin(), requests_.end(), [&](const Request& request) {
    return request.id == id && !request.ended;
  });
  if (found == requests_.end()) return false;
  found->ended = true;
  if (!stepping_) requests_.erase(found);
  return true;
}

int32_t Scheduler::prefill_budget() const {
  // Until prefill was measured, a token of it is taken to cost what a pass of decoding does: less,
  // since it reads no weights of its own.
  const double token_s = prefill_token_s_ > 0 ? prefill_token_s_ : decode_s_;
  const int32_t most = prefill_token_s_ > 0 ? options_.pass_tokens_max : kFirstPrefill;
  if (token_s <= 0) return kFirstPrefill;
  const double room = (options_.latency_max_s - read_s() - decode_s_) / token_s;
  const double tokens = std::clamp(room, double{1} * options_.prefill_tokens_min,
                                   double{1} * std::max(most, options_.prefill_tokens_min));
  return static_cast<int32_t>(tokens);
}

double Scheduler::read_s() const {
  const bool reads = std::any_of(requests_.begin(), requests_.end(), [](const Request& request) {
    const Memory* memory = request.session->memory();
    return memory != nullptr && memory->store() != nullptr;
  });
  return reads ? kReadShare * options_.latency_max_s : 0;
}

void Scheduler::give_turn() {
  const auto has_turn = [&](const Request& request) { return request.id == turn_; };
  if (turn_left_ > 0 && std::any_of(requests_.begin(), requests_.end(), has_turn)) return;
  turn_ = 0;
  int64_t longest = options_.passes_stuck_max - 1;
  for (const Request& request : requests_) {
    if (request.stuck <= longest) continue;
    longest = request.stuck;
    turn_ = request.id;
    turn_left_ = kTurnLogits;
  }
}

// Whose turn it is, then who decodes, then who prefills; each by priority, and who came first.
std::vector<Scheduler::Request*> Scheduler::in_order() {
  std::vector<Request*> order;
  for (Request& request : requests_) {
    if (request.decoding && request.session->pending() > kDecodeTokensMax) request.decoding = false;
    order.push_back(&request);
  }
  const auto rank = [&](const Request& r) {
    return r.priority + r.waited / options_.passes_per_priority;
  };
  std::stable_sort(order.begin(), order.end(), [&](const Request* a, const Request* b) {
    if ((a->id == turn_) != (b->id == turn_)) return a->id == turn_;
    if (a->decoding != b->decoding) return a->decoding;
    return rank(*a) > rank(*b);
  });
  return order;
}

void Scheduler::measure(double seconds, int32_t decoded, int32_t prefilled) {
  // A small pass without decoding says more about its fixed costs than about prefill.
  if (decoded == 0 && prefilled < kFirstPrefill) return;
  if (prefilled == 0) {
    decode_s_ = faded(decode_s_, seconds);
    return;
  }
  const double extra = std::max(seconds - (decoded > 0 ? decode_s_ : 0), 0.0);
  prefill_token_s_ = faded(prefill_token_s_, extra / prefilled);
}

bool Scheduler::step() {
  if (requests_.empty()) return false;
  give_turn();
  const std::vector<Request*> order = in_order();
  std::vector<Session*> sessions;
  std::vector<int32_t> before;
  int32_t decode_tokens = 0;
  bool prefills = false;
  for (const Request* request : order) {
    sessions.push_back(request->session);
    before.push_back(request->session->pending());
    if (request->decoding) decode_tokens += request->session->pending();
    prefills = prefills || !request->decoding;
  }
  PassOptions pass{.tokens_max = options_.pass_tokens_max};
  if (decode_tokens > 0 && prefills) {
    const int32_t budget = prefill_budget();
    pass.tokens_max =
        std::min(decode_tokens, options_.pass_tokens_max - options_.prefill_tokens_min) + budget;
    if (!order.front()->decoding) pass.first_tokens_max = budget;
    pass.read_s_max = order.front()->id == turn_ ? pass.read_s_max : read_s();
  }
  const double begin = options_.clock();
  const int32_t computed = runner_->pass(sessions, pass);
  const double seconds = options_.clock() - begin;
  const int32_t decoded = std::min(decode_tokens, computed);
  measure(seconds, decoded, computed - decoded);

  stepping_ = true;  // the callbacks may add and cancel requests
  for (size_t i = 0; i < order.size(); ++i) {
    Request& request = *order[i];
    if (request.ended) continue;
    Session& session = *request.session;
    request.waited = session.pending() < before[i] ? 0 : request.waited + 1;
    request.stuck = session.pending() < request.fewest_pending ? 0 : request.stuck + 1;
    request.fewest_pending = std::min(request.fewest_pending, session.pending());
    if (session.pending() > 0) continue;
    request.decoding = true;
    if (request.id == turn_) --turn_left_;
    const bool goes_on = request.on_logits(session);
    if (!goes_on || session.pending() == 0) request.ended = true;
    request.fewest_pending = session.pending();
  }
  stepping_ = false;
  std::erase_if(requests_, [](const Request& request) { return request.ended; });
  return true;
}

}  // namespace geist::engine
