#include "engine/page_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "model/page.h"

namespace geist::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".page";
constexpr int64_t kUseStepNs = 1 << 20;
constexpr int64_t kSecondsMax = INT64_MAX / 2'000'000'000;  // of a file's time that we believe

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  // close(2) reports what a delayed write failed at.
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

std::optional<PageName> name_of_file(const std::string& file) {
  PageName name;
  if (file.size() != 2 * name.size() + kEnding.size() || !file.ends_with(kEnding))
    return std::nullopt;
  for (size_t i = 0; i < name.size(); ++i) {
    unsigned value = 0;
    for (const char c : {file[2 * i], file[2 * i + 1]}) {
      if (c >= '0' && c <= '9')
        value = value * 16 + static_cast<unsigned>(c - '0');
      else if (c >= 'a' && c <= 'f')
        value = value * 16 + static_cast<unsigned>(c - 'a' + 10);
      else
        return std::nullopt;
    }
    name[i] = static_cast<uint8_t>(value);
  }
  return name;
}

// The first bytes of a file: fewer where it ends. Nothing (and errno) when they cannot be read.
std::optional<size_t> read_first(int fd, std::span<std::byte> out) {
  size_t count = 0;
  while (count < out.size()) {
    const ssize_t got =
        ::pread(fd, out.data() + count, out.size() - count, static_cast<off_t>(count));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    count += static_cast<size_t>(got);
  }
  return count;
}

// What a file holds.
struct Contents {
  bool readable = false;  // else it says nothing of the page
  uint64_t file_bytes = 0;
  std::shared_ptr<std::byte[]> bytes = nullptr;  // with the payload
  Result<PageRecord> record = errorf("cannot be read");
};

Contents read_page(const std::string& path, bool payload) {
  Contents out;
  // O_NONBLOCK: opening a FIFO would wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return out;
  out.file_bytes = static_cast<uint64_t>(info.st_size);
  std::byte header[kPageFileHeaderBytes];
  std::optional<size_t> got = read_first(file.get(), header);
  if (!got) return out;
  auto record = parse_page_header(std::span(header).first(*got), out.file_bytes);
  // A header that is right has the size of the file: so much is worth allocating.
  if (payload && record.ok()) {
    out.bytes = model::allocate_part(info.st_size);
    got = read_first(file.get(), {out.bytes.get(), out.file_bytes});
    if (!got) return out;
    record = parse_page_file({out.bytes.get(), *got});
  }
  out.readable = true;
  out.record = std::move(record);
  return out;
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

// Not through AtomicFile: a page need not survive a power cut (the checksums tell), so it is not
// worth an fsync. Gives the temporary name that it was written under; "" (and errno) when it
// failed.
std::string write_temporary(const std::string& path, const PageRecord& record) {
  static std::atomic<uint64_t> counter{0};
  std::string temporary = path + "." + std::to_string(counter.fetch_add(1)) + ".tmp";
  Descriptor file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return "";
  static constexpr std::byte kZeros[64] = {};
  const PageFileHeader header = encode_page_header(record);
  const bool written = write_all(file.get(), header.header) && write_all(file.get(), record.full) &&
                       write_all(file.get(), {kZeros, header.padding}) &&
                       write_all(file.get(), record.window) && file.close();
  if (written) return temporary;
  const int error = errno;
  ::unlink(temporary.c_str());
  errno = error;
  return "";
}

}  // namespace

struct PageStore::Found {
  int64_t modified_ns;
  PageName name;
  uint64_t bytes;
};

PageStore::PageStore(std::string folder, PageStoreOptions options)
    : folder_(std::move(folder)), options_(options) {}

PageStore::~PageStore() {
  if (lock_ >= 0) ::close(lock_);
}

Result<std::unique_ptr<PageStore>> PageStore::open(const std::string& folder,
                                                   const PageStoreOptions& options) {
  std::error_code error;
  if (fs::create_directories(folder, error)) ::chmod(folder.c_str(), 0700);
  if (error || !fs::is_directory(folder, error))
    return errorf("%s: cannot make a folder for pages here: %s", folder.c_str(),
                  error ? error.message().c_str() : "it is something else");
  std::unique_ptr<PageStore> store(new PageStore(folder, options));
  const std::string lock = folder + "/lock";
  store->lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (store->lock_ < 0) {
    store->warning_ = folder + ": cannot write here (" + std::strerror(errno) +
                      "); pages are read, none are added";
  } else if (::flock(store->lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(std::exchange(store->lock_, -1));
    store->warning_ = folder + ": another process writes here; pages are read, none are added";
  }
  store->scan();
  return store;
}

std::string PageStore::path(const PageName& name) const {
  const std::string hex = to_hex(name);
  return folder_ + "/" + hex.substr(0, 2) + "/" + hex + std::string(kEnding);
}

void PageStore::scan() {
  std::vector<Found> found;
  std::error_code error;
  for (const auto& shelf : fs::directory_iterator(folder_, error))
    if (shelf.is_directory(error)) scan_shelf(shelf.path().string(), found);
  for (const Found& page : found) {
    add(page.name, page.bytes, page.modified_ns);
    last_use_ = std::max(last_use_, page.modified_ns);
  }
  if (lock_ >= 0) make_room(0);
}

void PageStore::scan_shelf(const std::string& shelf, std::vector<Found>& found) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(shelf, error)) {
    const std::string file = entry.path().filename().string();
    if (lock_ >= 0 && file.ends_with(".tmp")) {  // a writer was killed
      ::unlink(entry.path().c_str());
      continue;
    }
    struct stat info {};
    const auto name = name_of_file(file);
    if (!name || ::stat(entry.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const int64_t seconds = std::clamp<int64_t>(info.st_mtim.tv_sec, 0, kSecondsMax);
    found.push_back({seconds * 1'000'000'000 + info.st_mtim.tv_nsec, *name,
                     static_cast<uint64_t>(info.st_size)});
  }
}

// In steps that are longer than a text, so that no page of a use is older than one of the use
// before, and onwards even when the clock of the system goes back.
int64_t PageStore::next_use() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  return last_use_ = std::max(now_ns, last_use_ + kUseStepNs);
}

int64_t PageStore::begin_use() {
  const std::lock_guard lock(mutex_);
  return next_use();
}

void PageStore::add(const PageName& name, uint64_t bytes, int64_t used) {
  if (!entries_.emplace(name, Entry{bytes, used}).second) return;
  by_use_.emplace(used, name);
  stats_.bytes += bytes;
  ++stats_.pages;
}

void PageStore::touch(const PageName& name, int32_t first_pos, int64_t use) {
  const auto found = entries_.find(name);
  const int64_t used = (use != 0 ? use : next_use()) - std::min(int64_t{first_pos}, kUseStepNs - 1);
  if (found == entries_.end() || found->second.used >= used) return;
  by_use_.erase({found->second.used, name});
  found->second.used = used;
  by_use_.emplace(used, name);
  if (lock_ < 0) return;
  const struct timespec time { used / 1'000'000'000, used % 1'000'000'000 };
  const struct timespec times[] = {time, time};
  ::utimensat(AT_FDCWD, path(name).c_str(), times, 0);
}

void PageStore::renew(const PageName& name, int32_t first_pos, int64_t use) {
  const std::lock_guard lock(mutex_);
  touch(name, first_pos, use);
}

void PageStore::erase(const PageName& name) {
  if (lock_ >= 0 && entries_.contains(name)) ::unlink(path(name).c_str());
  forget(name);
}

void PageStore::forget(const PageName& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  stats_.bytes -= found->second.bytes;
  --stats_.pages;
  by_use_.erase({found->second.used, name});
  entries_.erase(found);
}

void PageStore::make_room(uint64_t bytes) {
  while (!by_use_.empty() && stats_.bytes + bytes > options_.bytes_max) {
    erase(PageName(by_use_.begin()->second));
    ++stats_.pages_removed;
  }
}

bool PageStore::writable() const {
  const std::lock_guard lock(mutex_);
  return lock_ >= 0 && warning_.empty();
}

std::string PageStore::warning() const {
  const std::lock_guard lock(mutex_);
  return warning_;
}

bool PageStore::contains(const PageName& name) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(name);
}

std::optional<StoredPage> PageStore::read(const PageName& name, int64_t use) {
  if (!contains(name)) return std::nullopt;
  const auto begin = std::chrono::steady_clock::now();
  Contents page = read_page(path(name), true);
  const bool good = page.readable && page.record.ok() && page.record->name == name;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::lock_guard lock(mutex_);
  if (!good && page.readable) {
    ++stats_.pages_damaged;
    erase(name);
  } else if (!good) {  // removed meanwhile; or it cannot be read now, which is no damage
    forget(name);
  }
  if (!good) return std::nullopt;
  touch(name, page.record->first_pos, use);
  ++stats_.pages_read;
  read_s_ += seconds;
  read_bytes_ += static_cast<double>(page.file_bytes);
  return StoredPage{std::move(page.bytes), std::move(*page.record)};
}

bool PageStore::write(const PageRecord& record, int64_t use) {
  const uint64_t bytes = page_file_bytes(record);
  {
    const std::lock_guard lock(mutex_);
    if (entries_.contains(record.name)) {
      touch(record.name, record.first_pos, use);
      return true;
    }
    if (lock_ < 0 || !warning_.empty() || bytes > options_.bytes_max) return false;
    make_room(bytes);
  }
  const std::string file = path(record.name);
  ::mkdir(file.substr(0, file.rfind('/')).c_str(), 0700);
  const std::string temporary = write_temporary(file, record);
  int error = errno;
  // The file and its entry come and go together, under the lock: of two threads that wrote the same
  // page the second finds it here, even when the first one's has been removed since.
  const std::lock_guard lock(mutex_);
  if (!temporary.empty() && entries_.contains(record.name)) {
    ::unlink(temporary.c_str());
    touch(record.name, record.first_pos, use);
    return true;
  }
  if (!temporary.empty() && ::rename(temporary.c_str(), file.c_str()) == 0) {
    add(record.name, bytes, 0);
    touch(record.name, record.first_pos, use);
    ++stats_.pages_written;
    make_room(0);  // others wrote at the same time
    return true;
  }
  if (!temporary.empty()) {
    error = errno;
    ::unlink(temporary.c_str());
  }
  if (warning_.empty())
    warning_ = folder_ + ": cannot write a page (" + std::strerror(error) +
               "); work goes on without storing pages";
  return false;
}

void PageStore::remove(const PageName& name) {
  const std::lock_guard lock(mutex_);
  erase(name);
}

PageStore::Stats PageStore::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats = stats_;
  if (read_s_ > 0) stats.read_bytes_per_s = read_bytes_ / read_s_;
  return stats;
}

void PageStore::visit(
    bool verify,
    const std::function<void(const PageName&, uint64_t, const Result<PageRecord>&)>& f) {
  std::vector<PageName> names;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [used, name] : by_use_) names.push_back(name);
  }
  for (const PageName& name : names) {
    Contents page = read_page(path(name), verify);
    if (page.record.ok() && page.record->name != name)
      page.record = errorf("the file bears the name of another page");
    f(name, page.file_bytes, page.record);
  }
}

}  // namespace geist::engine
