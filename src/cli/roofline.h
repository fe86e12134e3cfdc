// geist bench --roofline: what each measured work needs, beside what the machine can do.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "cli/bench_run.h"
#include "kernels/machine_limits.h"
#include "model/pass_cost.h"

namespace geist::cli {

struct RooflineRow {
  std::string weights;  // the type that most of their bytes have
  Measurement measured;
  kernels::MachineLimits limits;  // with as many threads
  model::PassCost cost;           // of the whole work of one repeat

  double share() const;  // of the speed that the limits allow; 0 where they are not known
  bool memory_bound() const;
};

// Measures the limits for each number of threads and counts what each work needs.
std::vector<RooflineRow> make_roofline(const LoadedModel& loaded,
                                       std::span<const Measurement> measurements);

std::string roofline_text(std::span<const RooflineRow> rows);
nlohmann::ordered_json roofline_json(std::span<const RooflineRow> rows);
// The picture: operations a second against operations a byte, both in decades; a roof for each
// number of threads (one bend for int8 products, one for float), a point for each phase of each
// type of weights with its share of the roof.
std::string roofline_svg(const std::string& title, std::span<const RooflineRow> rows);

}  // namespace geist::cli
