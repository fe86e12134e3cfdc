// Transcendental functions of our own: the same bits on every processor, from IEEE-754 +, -, *, /,
// sqrt and round-to-nearest alone (no fused operation, no libm). Double precision, for tables and
// scalars computed once (RoPE frequencies, ALiBi slopes, sampling); the vector f32 exp and tanh of
// the kernels are in simd_math.h and have scalar twins here. Error bounds are tested against long
// double.
#pragma once

namespace geist::kernels {

double det_exp(double x);
double det_log(double x);            // x > 0; -inf for 0, NaN below
double det_pow(double x, double y);  // exp(y * log(x)) for x > 0
double det_sin(double x);            // |x| <= 2^30
double det_cos(double x);

float det_expf(float x);  // the f32 exp of the kernels
float det_tanhf(float x);
float det_sigmoidf(float x);

}  // namespace geist::kernels
