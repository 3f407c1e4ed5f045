#!/usr/bin/env bash
# Compiles each file for 9.0a and fails where ptxas says that it serialises wgmma. ptxas keeps wgmma asynchronous only
# where it can prove how registers flow. Otherwise it serialises every wgmma of the kernel, which is then 15 to 25 %
# slower, and says so (C7510 to C7518, C7520) only in its verbose output. C7519 (an arrive was added) is harmless.
#
#   check_wgmma.sh NVCC INCLUDE_DIR FILE.cu...
set -euo pipefail
nvcc=$1 include=$2
shift 2
failed=0
for file in "$@"; do
  output=$("$nvcc" -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -DRSE_KERNELS_FOR_90A=1 "-I$include" \
    -Xptxas -v -cubin -o /dev/null "$file" 2>&1) || { echo "$output" >&2; exit 1; }
  grep -q 'Used [0-9]* registers' <<<"$output" || { echo "$file: ptxas said nothing about its kernels" >&2; exit 1; }
  if grep -E '\(C75(1[0-8]|20)\)|wgmma.*serialized' <<<"$output" >&2; then
    echo "$file: ptxas serialises wgmma" >&2
    failed=1
  else
    echo "$file: $(grep -c 'Used [0-9]* registers' <<<"$output") kernels, wgmma stays asynchronous"
  fi
done
exit $failed
