#!/usr/bin/env bash
# Tests that the installed package refuses another LibTorch than the one it was built with, in one line that names both.
#
# Usage: other_torch_test.sh BUILD
set -euo pipefail
build=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { cat "$folder/log"; echo "$*" >&2; exit 1; }

built=$(sed -n 's/.*RSE was built with LibTorch \([0-9.]*\) .*/\1/p' "$build/package/rseConfig.cmake")
[ -n "$built" ] || fail "rseConfig.cmake does not say which LibTorch RSE was built with"
IFS=. read -r major minor _ <<<"$built"
mkdir "$folder/program"
cat >"$folder/program/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(any LANGUAGES NONE)
find_package(rse REQUIRED)
CMAKE

refuses() {  # refuses TORCH_VERSION MESSAGE
  local torch=$folder/torch-$1
  mkdir "$torch"
  echo "set(Torch_FOUND TRUE)" >"$torch/TorchConfig.cmake"
  printf 'set(PACKAGE_VERSION %s)\nif(NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)\n%s\nendif()\n' \
    "$1" "  set(PACKAGE_VERSION_COMPATIBLE TRUE)" >"$torch/TorchConfigVersion.cmake"
  ! cmake -S "$folder/program" -B "$folder/build-$1" -Drse_DIR="$build/package" -DTorch_DIR="$torch" \
    >"$folder/log" 2>&1 || fail "LibTorch $1 was taken"
  tr -s ' \n' ' ' <"$folder/log" >"$folder/line"
  grep -qF "$2" "$folder/line" || fail "the error does not say: $2"
}
for newer in "$major.$((minor + 1)).0" "$((major + 1)).0.0" "$major.${minor}0.1"; do
  refuses "$newer" "RSE was built with LibTorch $built and needs LibTorch $major.$minor, but LibTorch $newer was found"
done
refuses "$major.$((minor - 1)).0" "requested version \"$major.$minor\""
