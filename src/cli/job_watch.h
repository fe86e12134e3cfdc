// What a training job says when it is told to end (SIGTERM). mpirun and srun send that to the ranks
// that are left when one has died; the lowest of them then says in one line which it was and what
// to do, and the others leave the word to it.
#pragma once

#include <atomic>
#include <cstdint>

#include "cli/interrupt.h"
#include "train/run_lock.h"
#include "train/trainer.h"

namespace geist::cli {

// One at a time.
class JobWatch {
 public:
  JobWatch();
  ~JobWatch();
  JobWatch(const JobWatch&) = delete;
  JobWatch& operator=(const JobWatch&) = delete;

  train::RunLock& lock() { return lock_; }
  // Of every event of the run: remembers the newest checkpoint.
  void on(const train::TrainEvent& event);

 private:
  static void say(void* self);

  train::RunLock lock_;
  std::atomic<int64_t> checkpoint_{0};  // its step; 0: none
  TerminationHook hook_;
};

}  // namespace geist::cli
