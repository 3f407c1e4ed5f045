#!/usr/bin/env bash
# Fuzzes the readers of files from outside (token files, safetensors headers, YAML, corpora) with libFuzzer under
# AddressSanitizer and UndefinedBehaviorSanitizer. It uses clang 14, or else the newest clang with a fuzzer runtime.
#
#   scripts/fuzz.sh                                every target for 60 seconds
#   scripts/fuzz.sh yaml corpus --seconds 900      these targets for 900 seconds each
#   scripts/fuzz.sh token_file --runs 1000000      this target for a million executions
#   scripts/fuzz.sh yaml --seed 7                  with the random numbers of another run, which prints its seed
#
# --build-only only builds. --installed-only installs nothing and exits with code 77 where clang is missing.
# Inputs that led to new code are kept in build/fuzz/corpus/TARGET, where the next run starts. A finding ends it with
# exit code 1; its input lies in build/fuzz/findings, and `build/fuzz/bin/TARGET_fuzzer FILE` repeats it.
set -euo pipefail
export RSE_CALLED_FROM=${RSE_CALLED_FROM:-$PWD}
cd "$(dirname "$0")/.."

all_targets=(token_file safetensors yaml corpus)
targets=()
seconds=60 runs= seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') build_only= installed_only=
fail() { printf 'fuzz: error: %s\n' "$*" >&2; exit 2; }
number() { case "$2" in '' | *[!0-9]*) fail "$1 '$2': expected a whole number" ;; esac; }
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) number "$1" "${2:-}"; seconds=$2 runs=; shift ;;
    --runs) number "$1" "${2:-}"; runs=$2; shift ;;
    --seed) number "$1" "${2:-}"; seed=$2; shift ;;
    --build-only) build_only=1 ;;
    --installed-only) installed_only=1 ;;
    *)
      [[ " ${all_targets[*]} " == *" $1 "* ]] ||
        fail "unknown argument '$1'; expected ${all_targets[*]}, --seconds N, --runs N, --seed N, --build-only"
      targets+=("$1")
      ;;
  esac
  shift
done
[ ${#targets[@]} -gt 0 ] || targets=("${all_targets[@]}")

# 1. Find a clang++ that can link a fuzzer.
can_fuzz() {
  command -v "$1" >/dev/null &&
    echo '#include <cstdint>
#include <string>
extern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t size) { return std::string(size, 0).size() != size; }' |
    "$1" -std=c++20 -fsanitize=fuzzer,address,undefined -x c++ -o /dev/null - 2>/dev/null
}
find_clang() {
  local candidate
  for candidate in clang++-14 clang++-{30..15} clang++; do
    if can_fuzz "$candidate"; then command -v "$candidate"; return; fi
  done
}
clang=$(find_clang)
if [ -z "$clang" ]; then
  [ -z "$installed_only" ] || { echo "fuzz: this machine has no clang++ with a fuzzer runtime"; exit 77; }
  version=14
  ! grep -qs 'VERSION_CODENAME=noble' /etc/os-release || version=18
  RSE_EXTRA_PACKAGES="clang-$version libclang-rt-$version-dev" scripts/setup.sh
  clang=$(find_clang)
  [ -n "$clang" ] || fail "clang-$version cannot link fuzzers on this machine"
fi

# 2. Build the targets, and let the build write the seeds.
build=build/fuzz
mkdir -p "$build"
exec 8>"$build/lock"
flock 8  # runs that start at the same time build one after the other
cmake --preset fuzz -DCMAKE_CXX_COMPILER="$clang" >"$build/configure.log" 2>&1 || { cat "$build/configure.log" >&2; exit 1; }
cmake --build --preset fuzz --parallel "$(nproc)" >"$build/build.log" 2>&1 || { tail -n 60 "$build/build.log" >&2; exit 1; }
if [ ! -e "$build/seeds" ] || [ "$build/bin/make_fuzz_seeds" -nt "$build/seeds" ]; then
  rm -rf "$build/seeds"
  "$build/bin/make_fuzz_seeds" "$build/seeds.new"
  cp configs/*.yaml "$build/seeds.new/yaml"
  mv "$build/seeds.new" "$build/seeds"
fi
flock -u 8
[ -z "$build_only" ] || exit 0

# 3. Run the targets. Inputs become files in memory where there is room for it.
scratch=$(mktemp -d /dev/shm/rse_fuzz.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TMPDIR="$scratch"
mkdir -p "$build/findings"
findings=0
for target in "${targets[@]}"; do
  mkdir -p "$build/corpus/$target"
  limit=(-max_total_time="$seconds")
  [ -z "$runs" ] || limit=(-runs="$runs")
  [ ! -e "tests/fuzz/$target.dict" ] || limit+=(-dict="tests/fuzz/$target.dict")
  echo "fuzz: $target, seed $seed, $([ -z "$runs" ] && echo "$seconds seconds" || echo "$runs executions")"
  log="$build/$target.log"
  if ! "$build/bin/${target}_fuzzer" "${limit[@]}" -seed="$seed" -max_len=4096 -timeout=20 -rss_limit_mb=3000 \
      -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
      "$build/corpus/$target" "$build/seeds/$target" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "fuzz: $target: FINDING, see $build/findings and $log" >&2
    findings=1
    continue
  fi
  covered=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1)
  echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
    "$(sed -n 's/^Done .* in \([0-9]*\) second.*/\1/p' "$log") s, ${covered:-no coverage}, no finding"
done
exit $findings
