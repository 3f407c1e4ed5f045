#!/usr/bin/env bash
# Tests that -DRSE_CUDA=OFF configures and compiles: the operator library, the lowest layer that has a CUDA part.
#
# Usage: no_cuda_test.sh SOURCE [argument of cmake]...
set -euo pipefail
source=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Without optimization it compiles in half the time.
cmake -G Ninja -S "$source" -B "$folder/build" "$@" -DRSE_CUDA=OFF -DRSE_BUILD_TESTS=OFF -DRSE_BUILD_BENCH=OFF \
  -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O0 >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
grep -q 'CUDA part: FALSE' "$folder/log" || { echo "RSE_CUDA=OFF leaves the CUDA part in"; exit 1; }
cmake --build "$folder/build" --target rse_ops --parallel 2 >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
[ -e "$folder/build/lib/librse_ops.so" ] || { echo "no library was built"; exit 1; }
