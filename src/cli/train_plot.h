// Curves of training runs as one picture: a panel for each quantity, runs over each other.
#pragma once

#include <span>
#include <string>

#include "train/run_history.h"

namespace geist::cli {

struct PlottedRun {
  std::string name;
  train::RunHistory history;
};

std::string train_plot_svg(std::span<const PlottedRun> runs);

}  // namespace geist::cli
