#!/usr/bin/env bash
# Tests that the programs of a tree find their libraries where they should, and run none of the folder they are started in.
#
# Usage: tree_test.sh build|installed BUILD PYTHON
# installed: the tree is installed first, by a root (or user) whose new files only he can read; it must run for others.
set -euo pipefail
kind=$1
build=$2
python=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "$*" >&2; exit 1; }
unset LD_LIBRARY_PATH

tree=$build
if [ "$kind" = installed ]; then
  tree=$folder/prefix
  (umask 077 && cmake --install "$build" --prefix "$tree" >"$folder/log") || { cat "$folder/log"; exit 1; }
  closed=$(find "$tree" \( -type d ! -perm -005 \) -o \( ! -type d ! -perm -004 \) -o \( -path '*/bin/*' ! -perm -005 \))
  [ -z "$closed" ] || fail "others cannot read: $closed"
fi

programs=("$tree"/bin/rse-*)
[ ${#programs[@]} -ge 3 ] || fail "expected at least three programs, found: ${programs[*]}"
"$python" "$(dirname "$0")/check_runpath.py" "$tree" librse_ops.so "${programs[@]##*/}"

# Files that are no libraries, by the names of all libraries that are loaded: to find one of them is an error.
mkdir "$folder/elsewhere"
libraries=$(find "$tree" -name librse_ops.so)
for file in "${programs[@]}" $libraries; do
  needed=$(ldd "$file")
  ! grep 'not found' <<<"$needed" || fail "$file does not find its libraries"
  awk '$1 !~ /\// {print $1}' <<<"$needed" | while read -r name; do : >"$folder/elsewhere/$name"; done
done
[ -e "$folder/elsewhere/libstdc++.so.6" ] || fail "ldd named no library"
for program in "${programs[@]}"; do
  (cd "$folder/elsewhere" && "$program" --version) >"$folder/log" 2>&1 ||
    { cat "$folder/log"; fail "$program takes libraries from the folder that it is started in"; }
done
echo "${#programs[@]} programs"
