// Continuous batching: many sessions in the same passes, each joining and leaving when it likes.
//
//   engine::Scheduler scheduler(runner, {});
//   scheduler.add(session, [&](engine::Session& s) {     // its logits are there
//     const TokenId id = sampler.sample(s.logits());
//     return !tokenizer.is_end(id) && s.append(id).ok(); // false: done
//   });
//   while (scheduler.step()) {}
//
// A pass takes the tokens of every session that decodes, and beside them as many tokens of prefill
// as keep the pass within latency_max_s, by the times of the passes so far: a long prompt that
// arrives slows the others down by that much and no more, also where its pages are read from a
// store. Prefill gets at least a few tokens a pass, and who waits rises in priority with every
// pass. Who gets nowhere for long, because there is no room for it beside the others or what it
// computes is evicted again, has a turn: it comes before all others until it has had a few logits.
// So nobody starves. The plan depends on time; no bit of any result does (session.h).
//
// Callers that want another schedule drive Runner::pass() themselves. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "engine/session.h"

namespace geist::engine {

struct SchedulerOptions {
  double latency_max_s = 0.5;       // of a pass in which someone decodes
  int32_t pass_tokens_max = 512;    // of any pass
  int32_t prefill_tokens_min = 4;   // a pass, whatever the latency
  int32_t passes_per_priority = 8;  // who waits so many passes rises by 1
  int32_t passes_stuck_max = 64;    // who gets nowhere in so many passes has a turn
  // Seconds, from any origin; empty: the steady clock.
  std::function<double()> clock = {};
};

class Scheduler {
 public:
  // Called within step() when a session's tokens are all computed: it may read logits(), append()
  // what comes next and return true. The request ends when it returns false, or appends nothing.
  using OnLogits = std::function<bool(Session& session)>;
  using RequestId = uint64_t;

  Scheduler(Runner& runner, SchedulerOptions options);

  // The session must have tokens pending and live until the request has ended. Larger priorities
  // are served first.
  RequestId add(Session& session, OnLogits on_logits, int32_t priority = 0);
  // Ends a request; the session keeps what was computed. False: it had ended.
  bool cancel(RequestId id);

  // Makes one pass and calls who is due. False: there is no request.
  bool step();

  size_t requests() const { return requests_.size(); }
  // Tokens of prefill that the next pass takes beside sessions that decode.
  int32_t prefill_budget() const;
  // The part of a pass's time that is kept for reading pages.
  double read_s() const;

 private:
  struct Request {
    RequestId id;
    Session* session;
    OnLogits on_logits;
    int32_t priority;
    int32_t fewest_pending;  // since its last logits: less than that is progress
    int64_t waited = 0;      // passes since it was last served
    int64_t stuck = 0;       // passes since it last made progress
    bool decoding = false;   // has had logits
    bool ended = false;
  };
  std::vector<Request*> in_order();
  void give_turn();
  void measure(double seconds, int32_t decoded, int32_t prefilled);

  Runner* runner_;
  SchedulerOptions options_;
  std::list<Request> requests_;  // in order of arrival
  RequestId next_id_ = 1;
  bool stepping_ = false;
  RequestId turn_ = 0;          // of the request that comes first; 0: none
  int32_t turn_left_ = 0;       // logits until the turn is over
  double decode_s_ = 0;         // of a pass without prefill; fading mean
  double prefill_token_s_ = 0;  // that a token of prefill adds; 0: not known yet
};

}  // namespace geist::engine
