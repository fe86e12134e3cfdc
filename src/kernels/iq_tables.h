// Tables of the IQ formats. They are part of the file format: a code book ("grid") of magnitudes
// for 8 weights (IQ2) or 4 weights (IQ3), and the 16 levels of IQ4. Values as published with ggml
// (ggml-common.h, MIT); held here as 2 or 3 bits a magnitude and expanded by the compiler.
#pragma once

#include <array>
#include <cstdint>

namespace geist::kernels {

extern const std::array<std::array<int8_t, 8>, 256> kIq2XxsGrid;
extern const std::array<std::array<int8_t, 8>, 512> kIq2XsGrid;
extern const std::array<std::array<int8_t, 8>, 1024> kIq2SGrid;
extern const std::array<std::array<int8_t, 4>, 256> kIq3XxsGrid;
extern const std::array<std::array<int8_t, 4>, 512> kIq3SGrid;
extern const std::array<int8_t, 16> kIq4Levels;

}  // namespace geist::kernels
