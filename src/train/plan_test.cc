// Plans against published runs; docs/plan.md names the sources.
#include "train/plan.h"

#include <gtest/gtest.h>

#include <cmath>

namespace geist::train {
namespace {

constexpr double kTera = 1e12;

Plan plan(const PlanOptions& options) {
  auto made = make_plan(options);
  EXPECT_TRUE(made.ok()) << made.error().message;
  return *made;
}
void expect_close(double value, double published, double share) {
  EXPECT_NEAR(value / published, 1.0, share) << value << " for " << published;
}

TEST(Plan, Llama3Of405BillionParameters) {
  const Plan p =
      plan({.parameters = 405e9, .tokens = 15.6e12, .devices = 16384, .flops_per_s = 400 * kTera});
  expect_close(p.model_flops, 3.8e25, 0.01);
  // 30.84 million hours of H100s for all of it: restarts, evaluation and the long context as well.
  expect_close(p.device_hours, 30.84e6, 0.2);
  // Their layout: tensor 8, pipeline 16, data 128.
  EXPECT_EQ(p.layout.tensor, 8);
  EXPECT_EQ(p.layout.pipeline, 16);
  EXPECT_EQ(p.layout.data, 128);
  EXPECT_EQ(p.options.shape.layers, 126);  // theirs, of 16384
  expect_close(static_cast<double>(p.options.shape.width), 16384, 0.02);
}

TEST(Plan, Gpt3) {
  const Plan p = plan({.parameters = 175e9,
                       .tokens = 300e9,
                       .devices = 1024,
                       .flops_per_s = 140 * kTera,
                       .context = 2048,
                       .batch_tokens = 3.2e6,
                       .recompute = true});
  expect_close(p.model_flops, 3.14e23, 0.01);
  expect_close(p.days, 34, 0.02);  // Megatron-LM's, with recomputation
}

TEST(Plan, MegatronsTrillion) {
  const Plan p = plan({.parameters = 1e12,
                       .tokens = 450e9,
                       .devices = 3072,
                       .flops_per_s = 163 * kTera,
                       .context = 2048,
                       .recompute = true});
  expect_close(p.days, 84, 0.02);
}

TEST(Plan, Llama2Of70BillionParameters) {
  // 1,720,320 hours at the rate that they come to: 136 of 312 TFLOP/s, 44%.
  const Plan p = plan({.parameters = 70e9,
                       .tokens = 2e12,
                       .devices = 2048,
                       .flops_per_s = 136 * kTera,
                       .watts = 400,
                       .context = 4096,
                       .batch_tokens = 4e6});
  expect_close(p.device_hours, 1720320, 0.01);
}

TEST(Plan, EnergyOfBloom) {
  // 1,082,990 hours of A100s at 400 W: 433,196 kWh.
  const double rate = 6 * 176e9 * 366e9 / (1082990.0 * 3600);
  const Plan p = plan({.parameters = 176e9,
                       .tokens = 366e9,
                       .devices = 384,
                       .flops_per_s = rate,
                       .watts = 400,
                       .pue = 1,
                       .context = 2048});
  expect_close(p.energy_joules / 3.6e6, 433196, 0.001);
  expect_close(p.days, 118, 0.01);
}

TEST(Plan, ChinchillaIsOptimal) {
  const Plan p =
      plan({.parameters = 70e9, .devices = 512, .flops_per_s = 100 * kTera, .context = 2048});
  expect_close(p.options.tokens, 1.4e12, 0.01);
  expect_close(p.optimal_parameters, 70e9, 0.01);
  expect_close(p.model_flops, 5.76e23, 0.03);
}

TEST(Plan, ADeviceNeverGetsMoreThanItHolds) {
  for (const double n : {1e8, 1e9, 8e9, 70e9, 405e9}) {
    for (const double devices : {64.0, 96.0, 1024.0, 5000.0}) {
      for (const bool recompute : {false, true}) {
        const auto p = make_plan(
            {.parameters = n, .devices = devices, .flops_per_s = 4e14, .recompute = recompute});
        if (!p.ok()) continue;
        const PlanLayout& l = p->layout;
        EXPECT_LE(l.total(), 80e9);
        EXPECT_EQ(l.tensor * l.pipeline * l.data, static_cast<int64_t>(devices));
        EXPECT_GE(l.microbatches, 1);
      }
    }
  }
}

TEST(Plan, WhatCannotFitIsAnError) {
  const auto small = make_plan({.parameters = 405e9, .devices = 8, .flops_per_s = 4e14});
  ASSERT_FALSE(small.ok());
  EXPECT_NE(small.error().message.find("too small"), std::string::npos);
  EXPECT_FALSE(
      make_plan({.parameters = 1e9, .devices = 1, .flops_per_s = 1e14, .batch_tokens = 100}).ok());
}

}  // namespace
}  // namespace geist::train
