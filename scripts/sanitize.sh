#!/usr/bin/env bash
# Runs the GPU tests of the attention kernels under compute-sanitizer: memcheck, racecheck, initcheck and synccheck.
#
#   scripts/sanitize.sh [FILTER of the tests]
#
# It needs a GPU, compute-sanitizer and a build, takes about five minutes, and exits with code 1 at the first finding.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=build/release/bin/rse_ops_tests
cases=Gpu/AttentionOracleTest
filter=${1:-"$cases.PackedDocuments/*:$cases.RaggedLengths/*:$cases.WideHeadsOverSeveralBlocks/*:-*/reference"}
[ -x "$tests" ] || { echo "$tests does not exist; build it with: cmake --build --preset release" >&2; exit 2; }
command -v compute-sanitizer > /dev/null || { echo "compute-sanitizer is not on the PATH" >&2; exit 2; }
for tool in memcheck racecheck initcheck synccheck; do
  echo "== $tool"
  only=()
  # LibTorch's own kernels, of which the oracle is made, take racecheck too long.
  [ "$tool" != racecheck ] || only=(--kernel-name kernel_substring=rse7kernels)
  compute-sanitizer --tool "$tool" "${only[@]}" --error-exitcode 1 "$tests" --gtest_brief=1 --gtest_filter="$filter"
done
