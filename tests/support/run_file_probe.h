// What tests ask of run/geist.c, beside running it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

float probe_fma32(float a, float b, float c);
float probe_exp32(float x);
float probe_sqrt32(float x);
double probe_exp64(double x);
double probe_pow64(double x, double y);
double probe_sin64(double x);
double probe_cos64(double x);
int probe_class_of(uint32_t code_point);  // 1: letter, 2: number, 4: white space, 8: other

// One vocabulary at a time: the file of a model, or of a vocabulary alone. Ends the process on
// errors.
void probe_open_vocabulary(const char* file);
// The tokens of a text, BOS not added; *out stays valid until the next call.
size_t probe_encode(const char* text, size_t size, int raw, const int** out);

#ifdef __cplusplus
}
#endif
