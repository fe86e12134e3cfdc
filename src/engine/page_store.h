// Pages on disk (page_file.h): a folder with a file for each page, found by name.
//
//   FOLDER/lock                    held by the process that writes
//   FOLDER/ab/abcdef....page       a page whose name begins with ab
//
// The file system is the allocator and the index. A page is written under a temporary name and
// renamed, so a process that dies leaves a page or none; what a lost power cord leaves is found by
// the checksums. A page is read into memory and what was read is checked, not mapped: so what was
// checked is what is used, whatever becomes of the file, and a file cut short is no signal.
//
// When the folder outgrows its limit the pages used longest ago are removed; the time is that of
// modification, which a use renews. Pages are used together, as a timeline: of one use the first
// page of the text counts as the latest, since without it the others are of no use.
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

#include "base/result.h"
#include "engine/page_file.h"

namespace geist::engine {

struct PageStoreOptions {
  uint64_t bytes_max = uint64_t{8} << 30;
};

// A page that was read: the record's spans point into `bytes`.
struct StoredPage {
  std::shared_ptr<std::byte[]> bytes;
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
  // Begins a use of pages together, for what follows; without one, a page is a use of its own.
  int64_t begin_use();
  // Counts a page that is here, at this position of its text, as used.
  void renew(const PageName& name, int32_t first_pos, int64_t use);
  // The page, verified. Nothing when it is not here; also when it was damaged (it is then removed)
  // or cannot be read (it is then not here for this process, so that it is computed again).
  std::optional<StoredPage> read(const PageName& name, int64_t use = 0);
  // Writes a page unless it is here already; removes old ones when the folder is too large. False
  // when it could not be written: see warning().
  bool write(const PageRecord& record, int64_t use = 0);
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
    int64_t used;  // nanoseconds since 1970, less the position: the file's modification time
  };
  struct Found;
  std::string path(const PageName& name) const;
  void scan();
  void scan_shelf(const std::string& shelf, std::vector<Found>& found);
  int64_t next_use();
  void touch(const PageName& name, int32_t first_pos, int64_t use);
  void add(const PageName& name, uint64_t bytes, int64_t used);
  void erase(const PageName& name);   // with its file
  void forget(const PageName& name);  // not with its file
  void make_room(uint64_t bytes);

  const std::string folder_;
  const PageStoreOptions options_;
  int lock_ = -1;  // descriptor of FOLDER/lock when this process writes

  mutable std::mutex mutex_;  // guards what follows
  std::unordered_map<PageName, Entry, PageNameHash> entries_;
  std::set<std::pair<int64_t, PageName>> by_use_;
  int64_t last_use_ = 0;
  std::string warning_;
  Stats stats_;
  double read_s_ = 0, read_bytes_ = 0;
};

}  // namespace geist::engine
