// A progress line on standard error: a bar with rate and time left on a terminal, a plain line now
// and then elsewhere. Elapsed time is only shown, it never decides anything.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace geist::cli {

class Progress {
 public:
  enum class Unit { kBytes, kItems, kShare };  // kShare: of 100, shown as a percentage alone
  // total 0: unknown. `quiet`: shows nothing.
  Progress(std::string label, uint64_t total, Unit unit = Unit::kBytes, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void set_total(uint64_t total) { total_ = total; }
  // Work done before this run (a resumed download): counts for the bar and not for the rate.
  void set_start(uint64_t done) { start_ = done_ = done; }
  void update(uint64_t done);
  // Shows the end state and a newline; later calls do nothing.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void show(Clock::time_point now);
  std::string line(Clock::time_point now) const;

  std::string label_;
  uint64_t total_, start_ = 0, done_ = 0;
  Unit unit_;
  bool quiet_, terminal_, shown_ = false;
  Clock::time_point begin_, last_shown_;
};

}  // namespace geist::cli
