// Pages on disk (page_file.h): a folder with a file for each page, found by name.
//
//   FOLDER/lock                    held by the process that writes
//   FOLDER/ab/abcdef....page       a page whose name begins with ab
//
// The file system is the allocator and the index. A page is written under a temporary name and
// renamed, so a process that dies leaves a page or none; what a lost power cord leaves is found by
// the checksums, which are verified before the first use of a page in a process. Removing a page
// that is mapped is safe: the mapping keeps its bytes. When the folder outgrows its limit the pages
// used longest ago (by modification time, which reading renews) are removed.
//
// One process writes: a second one that opens the folder reads from it only. A write that fails
// (disk full, no permission) ends writing and is reported once by warning(); reading goes on.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "engine/page_file.h"

namespace geist::engine {

struct PageStoreOptions {
  uint64_t bytes_max = uint64_t{8} << 30;
};

// A page in its file: the record's spans live as long as `file`.
struct StoredPage {
  std::shared_ptr<const MappedFile> file;
  PageRecord record;
};

class PageStore {
 public:
  // Creates the folder (for this user alone) when it is missing, removes what a killed writer left.
  static Result<std::unique_ptr<PageStore>> open(const std::string& folder,
                                                 const PageStoreOptions& options = {});
  ~PageStore();

  // Whether this process may write, and why not once it may not ("" while all is well).
  bool writable() const;
  std::string warning() const;

  bool contains(const PageName& name) const;
  // The page, verified. Nothing when it is not here; also when it was damaged: it is then removed.
  std::optional<StoredPage> read(const PageName& name);
  // Writes a page unless it is here already; removes old ones when the folder is too large. False
  // when it could not be written: see warning().
  bool write(const PageRecord& record);
  void remove(const PageName& name);

  struct Stats {
    uint64_t pages = 0, bytes = 0;
    uint64_t pages_read = 0, pages_written = 0, pages_removed = 0, pages_damaged = 0;
    double read_bytes_per_s = 0;  // measured, verification included; 0: nothing was read yet
  };
  Stats stats() const;

  // Calls f for every page there is, oldest first, with an error for those that are damaged.
  // verify: the keys and values too, not only the headers.
  void visit(
      bool verify,
      const std::function<void(const PageName&, uint64_t bytes, const Result<PageRecord>&)>& f);

 private:
  PageStore(std::string folder, PageStoreOptions options);
  struct Entry {
    uint64_t bytes;
    int64_t used;  // order of use
  };
  struct Found;
  std::string path(const PageName& name) const;
  void scan();
  void scan_shelf(const std::string& shelf, std::vector<Found>& found);
  void touch(const PageName& name);
  void add(const PageName& name, uint64_t bytes);
  void erase(const PageName& name);   // with its file
  void forget(const PageName& name);  // not with its file
  void make_room(uint64_t bytes);

  const std::string folder_;
  const PageStoreOptions options_;
  int lock_ = -1;  // descriptor of FOLDER/lock when this process writes

  mutable std::mutex mutex_;  // guards what follows
  std::unordered_map<PageName, Entry, PageNameHash> entries_;
  std::set<std::pair<int64_t, PageName>> by_use_;
  int64_t clock_ = 0;
  std::string warning_;
  Stats stats_;
  double read_s_ = 0, read_bytes_ = 0;
};

}  // namespace geist::engine
