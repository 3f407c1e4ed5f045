// Included by exactly one source file per instruction set, which defines RSE_SIMD_NAMESPACE, RSE_SIMD_BYTES
// (vector width) and RSE_SIMD_REGISTERS (number of vector registers) first. Everything below lives in that
// namespace and uses no inline function of the standard library: the linker would be free to keep the copy
// that was compiled for the wrong instruction set.
#pragma once

#include "ops/cpu/backward_block.h"
#include "ops/cpu/forward_block.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/rotate.h"

namespace rse::ops::cpu::RSE_SIMD_NAMESPACE {

template <typename T>
constexpr Kernels<T> make_kernels() {
  return {kLanes<T>,    forward_scratch<T>, backward_scratch<T>, turn_row<T>,
          key_norms<T>, forward_block<T>,   backward_block<T>};
}

}  // namespace rse::ops::cpu::RSE_SIMD_NAMESPACE
