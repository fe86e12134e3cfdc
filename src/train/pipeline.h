// A pipeline: a folder that says, stage by stage, how a model is made, and with what hashes
// (`geist train verify FOLDER`).
//
//   pipeline.toml   [[stage]]
//                   name = "base"
//                   run = ["train", "base", "base.toml", "-t", "{threads}"]   # words for geist
//                   result = "base/model.gguf"   # a file, or a folder
//                   output = "eval.json"         # where standard output goes; may be the result
//                   [[require]]
//                   file = "eval.json"           # a JSON result ...
//                   value = "/suites/world/form/right"   # ... and a place in it (RFC 6901)
//                   min = 0.95                   # and max; with `over` = "other.json": of the
//                                                # difference to the same place there
//   *.toml, *.jinja recipes that the stages name, and chat templates that those name
//   hashes.json     {"base": "..."}: of each stage's result
//
// Stages run in a work folder into which the folder's recipes are copied, so that a recipe's
// relative paths lie there. A stage that is done is not run again while its result is what it was.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace geist::train {

struct PipelineStage {
  std::string name;
  std::vector<std::string> run;
  std::string result, output;
};

struct Requirement {
  std::string file, value, over;
  double min = 0, max = 0;
  bool has_min = false, has_max = false;
};

struct Pipeline {
  std::vector<PipelineStage> stages;
  std::vector<Requirement> requirements;
};

Result<Pipeline> read_pipeline(const std::string& folder);

using StageHashes = std::map<std::string, std::string>;
// hashes.json of the folder; empty when there is none.
Result<StageHashes> read_hashes(const std::string& folder);
Status write_hashes(const std::string& folder, const StageHashes& hashes);

// Of a model file: its weights (what training prints as weights_sha256), so that metadata may
// change; of any other file: its bytes; of a folder: the names and hashes of its files.
Result<std::string> result_hash(const std::string& path);

// Copies the recipes into the work folder. An error when other ones lie there: what was made by
// them would be taken for this pipeline's.
Status prepare_work(const std::string& folder, const std::string& work);

// What was done in a work folder: by stage, the hash of its result.
Result<StageHashes> read_done(const std::string& work);
Status write_done(const std::string& work, const StageHashes& done);

struct Measured {
  std::string text;  // "eval.json /suites/world/form/right: 0.97, at least 0.95"
  bool met = false;
};
Result<Measured> measure(const Requirement& requirement, const std::string& work);

}  // namespace geist::train
