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
#include <tuple>

namespace geist::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".page";

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
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.modified_ns, a.name) < std::tie(b.modified_ns, b.name);
  });
  for (const Found& page : found) add(page.name, page.bytes);
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
    found.push_back({int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec, *name,
                     static_cast<uint64_t>(info.st_size)});
  }
}

void PageStore::add(const PageName& name, uint64_t bytes) {
  const Entry entry{bytes, ++clock_};
  if (!entries_.emplace(name, entry).second) return;
  by_use_.emplace(entry.used, name);
  stats_.bytes += bytes;
  ++stats_.pages;
}

void PageStore::touch(const PageName& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  by_use_.erase({found->second.used, name});
  found->second.used = ++clock_;
  by_use_.emplace(found->second.used, name);
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

std::optional<StoredPage> PageStore::read(const PageName& name) {
  if (!contains(name)) return std::nullopt;
  const auto begin = std::chrono::steady_clock::now();
  const std::string file = path(name);
  auto mapped = MappedFile::open(file);
  std::optional<StoredPage> page;
  if (mapped.ok()) {
    auto shared = std::make_shared<const MappedFile>(std::move(*mapped));
    auto record = parse_page_file(shared->bytes());
    if (record.ok() && record->name == name)
      page = StoredPage{std::move(shared), std::move(*record)};
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::lock_guard lock(mutex_);
  if (!page && mapped.ok()) {
    ++stats_.pages_damaged;
    erase(name);
    return page;
  }
  if (!page) {  // removed meanwhile; or it cannot be mapped now, which is no damage
    if (::access(file.c_str(), F_OK) != 0)
      forget(name);  // another thread may have written it since
    return page;
  }
  if (lock_ >= 0) ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0);
  touch(name);
  ++stats_.pages_read;
  read_s_ += seconds;
  read_bytes_ += static_cast<double>(page->file->bytes().size());
  return page;
}

bool PageStore::write(const PageRecord& record) {
  const uint64_t bytes = page_file_bytes(record);
  {
    const std::lock_guard lock(mutex_);
    if (entries_.contains(record.name)) {
      touch(record.name);
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
    touch(record.name);
    return true;
  }
  if (!temporary.empty() && ::rename(temporary.c_str(), file.c_str()) == 0) {
    add(record.name, bytes);
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
    const auto mapped = MappedFile::open(path(name));
    if (!mapped.ok()) {
      f(name, 0, mapped.error());
      continue;
    }
    auto record = verify ? parse_page_file(mapped->bytes()) : parse_page_header(mapped->bytes());
    if (record.ok() && record->name != name)
      record = errorf("the file bears the name of another page");
    f(name, mapped->bytes().size(), record);
  }
}

}  // namespace geist::engine
