#!/usr/bin/env bash
# Fails where clang-tidy 14 finds something that .clang-tidy asks for. Usage: check_tidy.sh ROOT BUILD (the folder of
# compile_commands.json). Exit code 77: there is no clang-tidy 14.
#
# It reads the sources that do without LibTorch (core, data, analysis) and the project's headers that they include: about
# five seconds of one core per source. A source of a target with LibTorch takes half a minute, most of it for
# LibTorch's headers, and its command names a precompiled header of GCC that clang cannot read; so none of those is read.
set -euo pipefail
cd "$1"
build=$2
tidy=$(command -v clang-tidy-14 || command -v clang-tidy || true)
[ -n "$tidy" ] && "$tidy" --version | grep -q 'version 14' || { echo "there is no clang-tidy 14"; exit 77; }
printf '%s\0' src/core/*.cpp src/data/*.cpp src/analysis/*.cpp |
  xargs -0 -n 1 -P "$(nproc)" "$tidy" --quiet -p "$build"
