#!/usr/bin/env bash
# compute-sanitizer over the GPU tests of the attention kernels: memcheck, racecheck, initcheck, synccheck. Needs a
# GPU, compute-sanitizer and a build: scripts/sanitize.sh [FILTER of the tests]; ends with 1 at the first finding.
# Some five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=build/release/bin/rse_ops_tests
cases=Gpu/AttentionOracleTest
filter=${1:-"$cases.PackedDocuments/*:$cases.RaggedLengths/*:$cases.WideHeadsOverSeveralBlocks/*:-*/reference"}
[ -x "$tests" ] || { echo "$tests is not there: cmake --build --preset release" >&2; exit 2; }
command -v compute-sanitizer > /dev/null || { echo "compute-sanitizer is not on the PATH" >&2; exit 2; }
for tool in memcheck racecheck initcheck synccheck; do
  echo "== $tool"
  only=()
  # LibTorch's own kernels, of which the oracle is made, take racecheck too long.
  [ "$tool" != racecheck ] || only=(--kernel-name kernel_substring=rse7kernels)
  compute-sanitizer --tool "$tool" "${only[@]}" --error-exitcode 1 "$tests" --gtest_brief=1 --gtest_filter="$filter"
done
