#!/usr/bin/env bash
# Sets up, builds, and runs every test. It needs nothing beforehand. Without a GPU the tests labelled gpu are skipped.
#
#   scripts/test.sh             all tests of the release build
#   scripts/test.sh --asan      the same under AddressSanitizer and UndefinedBehaviorSanitizer (build/asan)
#   scripts/test.sh -R Name     further arguments go to ctest
set -euo pipefail
export RSE_CALLED_FROM=${RSE_CALLED_FROM:-$PWD}
cd "$(dirname "$0")/.."
preset=release
if [ "${1:-}" = --asan ]; then
  preset=asan
  shift
fi
RSE_EXTRA_PACKAGES="clang-format clang-tidy" scripts/setup.sh
scripts/fuzz.sh --build-only  # installs clang where it is missing
cmake --preset "$preset" >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build --preset "$preset" --parallel "$(nproc)"
# Each case is a process of its own with LibTorch's threads in it, so as many run at once as there are cores, with one
# thread each.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} ctest --preset "$preset" --parallel "$(nproc)" --output-on-failure "$@"
