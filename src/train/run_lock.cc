#include "train/run_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

namespace geist::train {
namespace {

struct flock byte_of(int rank) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

}  // namespace

RunLock::~RunLock() {
  if (const int fd = fd_.exchange(-1); fd >= 0) ::close(fd);
}

Status RunLock::take(const std::string& folder, int rank, int count) {
  const std::string path = (std::filesystem::path(folder) / "lock").string();
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return {};  // what cannot be written is said by those who have something to write
  constexpr int kTries = 10;
  constexpr auto kPause = std::chrono::milliseconds(200);
  struct flock lock = byte_of(rank);
  for (int i = 0; ::fcntl(fd, F_SETLK, &lock) != 0; ++i) {
    const bool held = errno == EACCES || errno == EAGAIN;
    if (held && i < kTries) {
      std::this_thread::sleep_for(kPause);
      continue;
    }
    ::close(fd);
    if (!held) return {};
    return errorf(
        "%s: another run is going on in this folder; wait for it, or give the recipe another 'out'",
        folder.c_str());
  }
  if (rank == 0 && ::ftruncate(fd, 0) != 0) return errorf("%s: cannot be emptied", path.c_str());
  rank_ = rank;
  count_ = count;
  fd_.store(fd);
  return {};
}

// A byte in the file: close() of a rank that is about to end. The first rank takes it out.
void RunLock::close() {
  if (!is_taken()) return;
  [[maybe_unused]] const auto done = ::pwrite(fd_.load(), "x", 1, 0);
}

bool RunLock::is_closed() const {
  struct stat info {};
  return ::fstat(fd_.load(), &info) == 0 && info.st_size > 0;
}

bool RunLock::is_alive(int rank) const {
  if (rank == rank_) return true;  // a process does not see its own locks
  struct flock lock = byte_of(rank);
  return ::fcntl(fd_.load(), F_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int RunLock::first_dead() const {
  if (fd_.load() < 0) return -1;
  for (int rank = 0; rank < count_; ++rank)
    if (!is_alive(rank)) return rank;
  return -1;
}

bool RunLock::is_lowest_alive() const {
  if (fd_.load() < 0) return rank_ == 0;
  for (int rank = 0; rank < rank_; ++rank)
    if (is_alive(rank)) return false;
  return true;
}

}  // namespace geist::train
