#!/usr/bin/env bash
# Installs the built tree into a temporary folder, builds a program against that, and runs it and the installed programs.
#
# Usage: package_test.sh BUILD PROGRAM_SOURCE [argument of the program's cmake]...
set -euo pipefail
build=$1
source=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "$*" >&2; exit 1; }
unset LD_LIBRARY_PATH

cmake --install "$build" --prefix "$folder/prefix" >"$folder/log" || { cat "$folder/log"; exit 1; }
headers=$(cd "$folder/prefix/include" && find . -type f)
[ "$headers" = ./rse/ops/attention.h ] || fail "headers that are not public were installed: $headers"

cmake -S "$source" -B "$folder/build" "$@" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$folder/prefix" \
  >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
cmake --build "$folder/build" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
"$folder/build/attention_user" || fail "the program failed"

for program in "$folder"/prefix/bin/rse-*; do
  "$program" --version >"$folder/log" 2>&1 || { cat "$folder/log"; fail "$program does not start"; }
done
mapfile -t files < <(find "$folder/prefix" -name 'librse_ops.so' -o -path '*/bin/rse-*')
[ ${#files[@]} -ge 4 ] || fail "expected the operator library and at least three programs, found: ${files[*]}"
for file in "${files[@]}"; do
  entries=$(readelf -d "$file")
  paths=$(grep -E 'R(UN)?PATH' <<<"$entries") || fail "$file says nowhere where its libraries are"
  ! grep -qF "$build" <<<"$paths" || fail "$file looks for libraries in the build tree: $paths"
done
