// Ctrl-C. By default it ends the program at once with exit code 130, after removing the files that
// are only partly written. A command that can stop cleanly opens a CatchInterrupt and asks
// interrupted().
#pragma once

#include <string>

namespace geist::cli {

// Once, at the start of the program: SIGINT and SIGTERM. SIGPIPE and SIGXFSZ are ignored
// (writes fail instead).
void install_interrupt_handler();

// While one lives, Ctrl-C sets a flag instead of ending the program; a second Ctrl-C that finds the
// flag still set ends it all the same.
class CatchInterrupt {
 public:
  CatchInterrupt();
  ~CatchInterrupt();
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;
};

bool interrupted();
void clear_interrupt();

// What SIGTERM calls before it ends the program; only what a signal handler may do.
struct TerminationHook {
  void (*run)(void* context);
  void* context;
};
// Null: nothing. The hook must outlive its being set.
void set_termination_hook(const TerminationHook* hook);

// While one lives, a Ctrl-C that ends the program unlinks what AtomicFile (base/file.h) has written
// for this path so far.
class RemoveOnInterrupt {
 public:
  explicit RemoveOnInterrupt(const std::string& path);
  ~RemoveOnInterrupt();
  RemoveOnInterrupt(const RemoveOnInterrupt&) = delete;
  RemoveOnInterrupt& operator=(const RemoveOnInterrupt&) = delete;

 private:
  int slot_;
};

}  // namespace geist::cli
