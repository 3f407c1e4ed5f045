#!/usr/bin/env bash
# Calls scripts from another folder with relative paths, and expects them to look there: check_script_paths.sh ROOT
#
# Every call ends in an error that names the place which was looked at, before anything is installed or built.
set -euo pipefail
unset RSE_CALLED_FROM  # scripts/test.sh sets it for the scripts that it calls itself
root=$1
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
mkdir folder

expect() {  # expect MESSAGE COMMAND...
  local message=$1 code=0 said
  shift
  said=$("$@" 2>&1) || code=$?
  if [ "$code" != 2 ] || [[ "$said" != *"$message"* ]]; then
    printf "check_script_paths: %s: exit code %s, '%s'; expected 2, '%s'\n" "$*" "$code" "$said" "$message" >&2
    exit 1
  fi
}

expect "error: $here/folder is a folder" "$root/scripts/quickstart.sh" --text folder
expect "error: cannot read $here/none.txt" "$root/scripts/quickstart.sh" --text none.txt
expect "error: cannot read /none.txt" "$root/scripts/quickstart.sh" --text /none.txt
expect "error: --text '': expected a file" "$root/scripts/quickstart.sh" --text ""
expect "RSE_TORCH_PREFIX=$here/torch has no" env RSE_HOME=cache RSE_TORCH_PREFIX=torch "$root/scripts/setup.sh"
[ -e cache/setup.lock ] || { echo "check_script_paths: RSE_HOME=cache is not the caller's $here/cache" >&2; exit 1; }
