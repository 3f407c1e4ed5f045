#!/usr/bin/env bash
# Kills a tiny run N times with SIGKILL, resumes it each time, and compares every run that reaches its end with one that
# was never disturbed. Weights, optimizer state, counters, logged losses, evaluations and summary must be equal bit for
# bit (but for the times of steps), and nothing half-written may stay. The moments of the kills are drawn evenly from
# the first 70 % of the life of an undisturbed process, because resumed ones have less to do and live shorter. Every
# fourth kill then waits until a checkpoint is being written.
#
#   scripts/crash_test.sh 20                 twenty kills; the exit code says whether all ends were equal
#   scripts/crash_test.sh 1000 --seed 7      the same moments again, as far as the machine's speed is the same
#   scripts/crash_test.sh 20 --bin DIR       programs of another build (default: build/release/bin)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$here/../build/release/bin
seed=$(date +%s)
kills=${1:?number of kills}
shift
while [ $# -gt 0 ]; do
  case $1 in
    --seed) seed=$2; shift 2 ;;
    --bin) bin=$2; shift 2 ;;
    *) echo "crash_test.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
done
bin=$(cd "$bin" && pwd)
RANDOM=$seed
echo "crash test: $kills kills, seed $seed"

work=$(mktemp -d)
running=
cleanup() {
  [ -z "$running" ] || kill -9 "$running" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# Writes text of made-up words, which is the same each time.
awk 'BEGIN {
  srand(1)
  for (line = 0; line < 600; ++line) {
    text = ""
    for (word = 0; word < 40; ++word) {
      text = text sprintf("%c%c%c%c ", 97 + int(rand() * 26), 97 + int(rand() * 4), 97 + int(rand() * 26), 97 + int(rand() * 4))
    }
    print text
  }
}' >"$work/text.txt"
"$bin/rse-data" --log-level error prepare --train "$work/text.txt" --valid "$work/text.txt" --vocab-size 300 \
  --output "$work/tokens" 2>"$work/prepare.log" || { cat "$work/prepare.log" >&2; exit 1; }

steps=24
cat >"$work/run.yaml" <<EOF
model: {layers: 2, width: 32, heads: 2, ffn_width: 64, dropout: 0.1}
data: {train: $work/tokens/train.bin, valid: $work/tokens/valid.bin, seq_len: 32, min_tokens: 8}
train: {steps: $steps, batch_size: 4, accumulation: 2, warmup_steps: 4, seeds: [1, 2], device: cpu, threads: 1}
validation: {every: 4, pieces: 4}
logging: {every: 3}
checkpoint: {every: 2, keep: 2}
arms:
  rope: {model: {position: {method: rope}}}
  rse: {model: {position: {method: rse}}}
EOF

# Starts or resumes the run in folder $1/run in the background and sets $running. The run starts inside $1, so that the
# paths in its configuration do not differ between runs.
start() {
  local resume=()
  [ ! -e "$1/run/config.yaml" ] || resume=(--resume)
  mkdir -p "$1"
  cd "$1"
  "$bin/rse-train" --config "$work/run.yaml" --output run "${resume[@]}" >>"$1/output.txt" 2>&1 &
  running=$!
  cd "$work"
}

# Waits for the run and sets $status.
finish() {
  status=0
  { wait "$running"; } 2>/dev/null || status=$?
  running=
}

fail() {
  echo "crash test: $1; the last output of the run:" >&2
  tail -5 "$2/output.txt" >&2
  exit 1
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# Trains the undisturbed run and measures how long it lives.
straight=$work/straight
begin=$(milliseconds)
start "$straight"
finish
[ "$status" = 0 ] || fail "the undisturbed run ended with exit code $status" "$straight"
life=$(($(milliseconds) - begin))

# Prints what differs between the runs in two folders.
compare() {
  python3 - "$straight/run" "$1/run" <<'EOF'
import json, pathlib, sys

TIMES = {"step_ms", "step_times_ms", "metrics_bytes", "step_ms_median", "step_ms_interquartile_range",
         "tokens_per_second", "mfu", "process_peak_bytes"}

def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value

def content(path):
    if path.suffix == ".jsonl":
        return [without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return without_times(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()

def files(run):
    # COMPLETE holds the checksum of trainer.json, which holds times; so do the log and the event files.
    return {str(path.relative_to(run)): path for path in run.rglob("*")
            if path.is_file() and path.name not in ("COMPLETE", "log.txt", "run.lock") and "tfevents" not in path.name}

expected, found = (files(pathlib.Path(run)) for run in sys.argv[1:3])
for name in sorted(expected.keys() | found.keys()):
    if name not in found or name not in expected:
        print(f"{name}: only in the {'undisturbed' if name in expected else 'killed'} run")
    elif content(expected[name]) != content(found[name]):
        print(f"{name}: differs")
EOF
}

# Waits until a checkpoint is being written in folder $1, or the process is gone.
await_saving() {
  while kill -0 "$running" 2>/dev/null && ! compgen -G "$1/run/checkpoints/.step-*[0-9].tmp" >/dev/null; do :; done
}

ended=0 saving=0 removing=0 early=0 training=0 late=0 killed=0
# Counts where the process was when it was killed, from what it left in folder $1.
classify() {
  local checkpoints=$1/run/checkpoints marks
  marks=$(find "$1" -path '*/checkpoints/step-*/COMPLETE' | wc -l)
  if [ "$marks" = 0 ]; then
    early=$((early + 1))
  elif [ -e "$checkpoints/step-$steps/COMPLETE" ]; then
    late=$((late + 1))
  else
    training=$((training + 1))
  fi
  [ -z "$(find "$checkpoints" -name '.step-*[0-9].tmp' 2>/dev/null)" ] || saving=$((saving + 1))
  [ -z "$(find "$checkpoints" -name '.step-*.removed.tmp' 2>/dev/null)" ] || removing=$((removing + 1))
  [ -z "$(find "$checkpoints" -maxdepth 1 -name 'step-*' '!' -exec test -e '{}/COMPLETE' ';' -print 2>/dev/null)" ] ||
    fail "after $killed kills: a checkpoint without COMPLETE was left" "$1"
}

check_end() {
  ended=$((ended + 1))
  local difference
  difference=$(compare "$1")
  [ -z "$difference" ] || fail "after $killed kills: run $ended is not equal to the undisturbed one: $difference" "$1"
  rm -r "$1"
}

folder=$work/1
while [ "$killed" -lt "$kills" ]; do
  start "$folder"
  delay=$((life * 7 / 10 * RANDOM / 32767))
  sleep "$((delay / 1000)).$(printf '%03d' $((delay % 1000)))"
  [ $((killed % 4)) != 3 ] || await_saving "$folder"
  kill -9 "$running" 2>/dev/null || true
  finish
  case $status in
    137) killed=$((killed + 1)); classify "$folder" ;;
    0) check_end "$folder"; folder=$work/$((ended + 1)) ;;
    *) fail "after $killed kills: exit code $status" "$folder" ;;
  esac
  [ $((killed % 100)) != 0 ] || [ "$status" = 0 ] || echo "$killed kills, $ended ends compared"
done
if [ -e "$folder" ]; then
  start "$folder"
  finish
  [ "$status" = 0 ] || fail "after the last kill: exit code $status" "$folder"
  check_end "$folder"
fi
echo "crash test: $killed kills: $early before the first checkpoint was complete, $training between the first and the" \
  "last, $late after the last; $saving of them while a checkpoint was being written, $removing while one was being removed"
echo "crash test: all $ended runs ended bit-equal to the undisturbed one (which took $life ms)"
if [ "$kills" -ge 20 ] && [ "$saving" = 0 ]; then
  echo "crash test: no kill came while a checkpoint was being written, so this run proves too little" >&2
  exit 1
fi
