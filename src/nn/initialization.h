// Initial values from names alone: counter-based, so bit-equal across arms, devices and numbers of threads.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string_view>

namespace rse {

// The stream that the parameter of this dotted name draws its initial values from.
uint64_t parameter_key(uint64_t seed, std::string_view name);

// Fills `tensor` (any device and floating dtype) with normal(0, std) draws of stream `key`: Philox bits,
// Box-Muller in float64, rounded to float32 on the CPU, then copied.
void fill_normal(const torch::Tensor& tensor, uint64_t key, double std);

// [positions, width] float32: sinusoids of the position, sin in the first half of a row, cos in the second,
// at wavelengths 2 pi * 10000^(2d/width) (Vaswani et al. 2017, section 3.5), scaled to standard deviation
// `std`.
torch::Tensor sinusoidal_table(int64_t positions, int64_t width, double std);

}  // namespace rse
