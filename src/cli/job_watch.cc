#include "cli/job_watch.h"

#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <string_view>

namespace geist::cli {
namespace {

static_assert(std::atomic<int64_t>::is_always_lock_free);

// A line in fixed memory: a signal handler cannot allocate or print.
class Line {
 public:
  Line& operator<<(std::string_view text) {
    for (const char c : text)
      if (size_ < sizeof text_) text_[size_++] = c;
    return *this;
  }
  Line& operator<<(int64_t number) {
    char digits[20];
    size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + number % 10);
    } while ((number /= 10) > 0);
    while (count > 0) *this << std::string_view(&digits[--count], 1);
    return *this;
  }
  void write() const { [[maybe_unused]] const auto done = ::write(STDERR_FILENO, text_, size_); }

 private:
  char text_[320];
  size_t size_ = 0;
};

}  // namespace

JobWatch::JobWatch() : hook_{&JobWatch::say, this} { set_termination_hook(&hook_); }
JobWatch::~JobWatch() { set_termination_hook(nullptr); }

void JobWatch::on(const train::TrainEvent& event) {
  using Kind = train::TrainEvent::Kind;
  if (event.kind == Kind::kResumed || event.kind == Kind::kCheckpoint)
    checkpoint_.store(event.step);
}

void JobWatch::say(void* self) {
  const JobWatch& watch = *static_cast<const JobWatch*>(self);
  if (!watch.lock_.is_taken() || watch.lock_.is_closed()) return;
  if (!watch.lock_.is_lowest_alive()) {
    constexpr int kWhileItLooks_ms = 500;  // at who is alive
    ::poll(nullptr, 0, kWhileItLooks_ms);
    return;
  }
  Line line;
  line << "geist: ";
  if (const int dead = watch.lock_.first_dead(); dead >= 0) {
    line << "rank " << dead << " of " << watch.lock_.count()
         << " has died (killed, or out of memory), so the job stops: ";
  } else {
    line << "told to end (SIGTERM): ";
  }
  line << "run the same command again, it ";
  if (const int64_t step = watch.checkpoint_.load(); step > 0) {
    line << "goes on from checkpoint " << step << "\n";
  } else {
    line << "begins again, there is no checkpoint yet\n";
  }
  line.write();
}

}  // namespace geist::cli
