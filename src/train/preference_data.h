// What preferences are learned from: files of them, made tokens through the model's chat template,
// divided into training and validation by their hash.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/chat_encoder.h"
#include "train/preferences.h"
#include "train/recipe.h"

namespace geist::train {

struct PreferenceDataOptions {
  std::vector<std::string> files, validation_files;
  double validation_share = 0.1;  // of the preferences of `files`
  int64_t validation_max = 256;   // preferences that are validated on; more are left out
  int64_t context = 0;  // ids of a conversation at most, longer ones are dropped; 0: the model's
  int64_t unix_time_s = 1767225600;  // what templates see as now: 2026-01-01
};

// The keys of [data].
Status read_preference_data(const RecipeTable& table, PreferenceDataOptions* options);

struct EncodedPreference {
  std::vector<EncodedChat> answers;  // best first
  std::optional<bool> label;
};

struct PreferenceData {
  std::vector<EncodedPreference> train, validation;
  int64_t dropped = 0;  // too long, or with an empty turn
};

// Relative paths start at `folder`; context_max: the model's.
Result<PreferenceData> load_preference_data(const PreferenceDataOptions& options,
                                            const std::string& folder, const ChatEncoder& encoder,
                                            int64_t context_max);

}  // namespace geist::train
