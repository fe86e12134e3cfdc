// One job at a time trains in a run's folder: its file `lock`, of which rank r of the job holds
// byte r as long as it lives (fcntl record locks, which the kernel lets go of when a process dies,
// and which shared file systems pass on to other machines). So nobody's checkpoints are mixed with
// or cleared away by another's, and ranks that are told to end can see which of them is gone.
#pragma once

#include <atomic>
#include <string>

#include "base/result.h"

namespace geist::train {

class RunLock {
 public:
  RunLock() = default;
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // Of a folder that is there. An error when another job holds it, after waiting 2 s for one that
  // is about to end; on a file system that has no locks there is none, and no error.
  Status take(const std::string& folder, int rank, int count);

  // Says to the other ranks that this one ends the job and has said why.
  void close();

  // All of the following for signal handlers too.
  bool is_taken() const { return fd_.load() >= 0; }
  bool is_closed() const;
  // The lowest rank that has died, or -1: none has, or nobody can say.
  int first_dead() const;
  // Whether this is the one to speak for all that are left.
  bool is_lowest_alive() const;

  int rank() const { return rank_; }
  int count() const { return count_; }

 private:
  bool is_alive(int rank) const;
  std::atomic<int> fd_{-1};  // read by signal handlers once the rest is set
  int rank_ = 0, count_ = 1;
};

}  // namespace geist::train
