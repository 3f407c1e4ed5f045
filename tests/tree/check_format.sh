#!/usr/bin/env bash
# Fails where clang-format 14 would change a source file. Usage: check_format.sh ROOT. Exit code 77: there is none.
set -euo pipefail
cd "$1"
formatter=$(command -v clang-format-14 || command -v clang-format || true)
[ -n "$formatter" ] && "$formatter" --version | grep -q 'version 14' || { echo "there is no clang-format 14"; exit 77; }
find src kernels tests \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' \) -print0 |
  xargs -0 "$formatter" --dry-run --Werror
