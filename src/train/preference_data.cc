#include "train/preference_data.h"

#include <algorithm>

#include "train/stage_recipe.h"

namespace geist::train {

Status read_preference_data(const RecipeTable& t, PreferenceDataOptions* o) {
  GEIST_TRY(t.require("files"));
  GEIST_TRY(t.read("files", &o->files));
  GEIST_TRY(t.read("validation_files", &o->validation_files));
  if (!o->validation_files.empty()) o->validation_share = 0;
  GEIST_TRY(t.read("validation_share", &o->validation_share, {.min = 0, .max = 0.9}));
  GEIST_TRY(t.read("validation_max", &o->validation_max, {.min = 0, .max = 1 << 20}));
  GEIST_TRY(t.read("context", &o->context, {.min = 0, .max = 1 << 24}));
  return t.read("unix_time_s", &o->unix_time_s, {.min = 0, .max = int64_t{1} << 40});
}

namespace {

// Where a hash falls in [0, 1).
double share_of(const std::string& hash) {
  return static_cast<double>(std::stoull(hash.substr(0, 13), nullptr, 16)) * 0x1p-52;
}

class Reader {
 public:
  Reader(const PreferenceDataOptions& options, const ChatEncoder& encoder, int64_t context)
      : o_(options), encoder_(encoder), context_(context) {}
  PreferenceData data;

  Status read(const std::string& path, bool all_validation) {
    GEIST_ASSIGN(const int64_t left_out,
                 read_preferences(path, [&](const Preference& p, const std::string& where) {
                   return add(p, where, all_validation);
                 }));
    data.dropped += left_out;
    return {};
  }

 private:
  Status add(const Preference& preference, const std::string& where, bool all_validation) {
    EncodedPreference out{.answers = {}, .label = preference.label};
    for (const Conversation& conversation : preference.answers) {
      auto chats = encoder_.encode(conversation);
      if (!chats.ok()) return errorf("%s: %s", where.c_str(), chats.error().message.c_str());
      out.answers.push_back(std::move(chats->back()));
      if (static_cast<int64_t>(out.answers.back().ids.size()) <= context_) continue;
      ++data.dropped;
      return {};
    }
    const bool aside = all_validation || share_of(preference.hash()) < o_.validation_share;
    auto& list = aside ? data.validation : data.train;
    if (!aside || static_cast<int64_t>(list.size()) < o_.validation_max)
      list.push_back(std::move(out));
    return {};
  }

  const PreferenceDataOptions& o_;
  const ChatEncoder& encoder_;
  int64_t context_;
};

}  // namespace

Result<PreferenceData> load_preference_data(const PreferenceDataOptions& options,
                                            const std::string& folder, const ChatEncoder& encoder,
                                            int64_t context_max) {
  const int64_t context =
      options.context > 0 ? std::min(options.context, context_max) : context_max;
  Reader reader(options, encoder, context);
  for (const std::string& file : options.files) GEIST_TRY(reader.read(beside(folder, file), false));
  for (const std::string& file : options.validation_files)
    GEIST_TRY(reader.read(beside(folder, file), true));
  if (reader.data.train.empty())
    return errorf(
        "there are no preferences to learn from (%lld were dropped: longer than data.context = "
        "%lld tokens, or with an empty turn)",
        static_cast<long long>(reader.data.dropped), static_cast<long long>(context));
  return std::move(reader.data);
}

}  // namespace geist::train
