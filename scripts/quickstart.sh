#!/usr/bin/env bash
# Sets up, builds, trains learned positions, RoPE and RSE side by side on real text, evaluates them on sequences of 1, 2,
# 4 and 8 times the trained length, and draws the report: the whole product in one command, on a bare machine, with no data
# at hand. It takes less than ten minutes on 2 CPU cores after set-up and build. A GPU is used where there is one.
#
#   scripts/quickstart.sh                     text: the King James Bible of the distribution's package bible-kjv
#   scripts/quickstart.sh --text FILE...      text of your own (plain text, at least 1 MB to learn anything)
#
# Everything it writes lies under runs/quickstart.
set -euo pipefail
export RSE_CALLED_FROM=${RSE_CALLED_FROM:-$PWD}  # what a user's relative paths are relative to
cd "$(dirname "$0")/.."

texts=()
if [ "${1:-}" = --text ]; then
  shift
  [ $# -gt 0 ] || { echo "quickstart: error: --text needs at least one file" >&2; exit 2; }
  for file in "$@"; do
    case $file in
      '') echo "quickstart: error: --text '': expected a file, found nothing (an unset variable?)" >&2; exit 2 ;;
      /*) ;;
      *) file=$RSE_CALLED_FROM/$file ;;
    esac
    [ ! -d "$file" ] || { echo "quickstart: error: $file is a folder; expected a file of plain text" >&2; exit 2; }
    [ -r "$file" ] || { echo "quickstart: error: cannot read $file" >&2; exit 2; }
    texts+=("$file")
  done
elif [ $# -gt 0 ]; then
  echo "quickstart: error: unknown argument '$1'; expected --text FILE..." >&2
  exit 2
fi

if [ ${#texts[@]} -eq 0 ]; then
  RSE_EXTRA_PACKAGES=bible-kjv scripts/setup.sh
else
  scripts/setup.sh
fi

echo "quickstart: building (a few minutes the first time)"
mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build --preset release --parallel "$(nproc)" --target rse-data rse-train rse-eval

home=runs/quickstart
mkdir -p "$home/text"
rm -f "$home/text/train.txt" "$home/text/valid.txt"

# One twentieth of the text is held out for validation: every 20th chapter of the Bible, or every 20th stretch of 50
# lines of your own files. A blank line is a document border.
split() {
  awk -v train="$home/text/train.txt" -v valid="$home/text/valid.txt" '
    /^$/ { unit++; print "" > (unit % 20 == 7 ? valid : train); next }
    { print > (unit % 20 == 7 ? valid : train) }'
}
if [ ${#texts[@]} -eq 0 ]; then
  # "Ge1:2 And the earth ..." becomes the verse alone. A new chapter starts a new document.
  bible -f gen1:1-rev22:21 | awk '{ split($1, place, ":"); if (NR > 1 && place[1] != last) print ""
    last = place[1]; $1 = ""; print substr($0, 2) }' | split
  name="King James Bible"
else
  awk 'FNR == 1 && NR > 1 { print "" } { print } FNR % 50 == 0 { print "" }' "${texts[@]}" | split
  name="${texts[*]}"
fi

for part in train valid; do
  [ -s "$home/text/$part.txt" ] && continue
  echo "quickstart: error: $name: expected at least 350 lines, because every 20th stretch of 50 lines is held out" >&2
  exit 2
done
echo "quickstart: text: $name; 1,024 pieces"
build/release/bin/rse-data prepare --train "$home/text/train.txt" --valid "$home/text/valid.txt" \
  --document-separator blank-line --vocab-size 1024 --output "$home/tokens"

run=1
while [ -e "$home/run-$run" ]; do run=$((run + 1)); done
build/release/bin/rse-train --config quickstart.yaml --set data.train="$home/tokens/train.bin" \
  --set data.valid="$home/tokens/valid.bin" --output "$home/run-$run"

# Held-out text is cut into 64 (as in training), 128, 256 and 512 tokens. The learned table has 64 rows and repeats
# beyond them.
report=(--no-report)
! grep -q RSE_REPORT_PYTHON build/deps.cmake || report=()
build/release/bin/rse-eval --run "$home/run-$run" --data "$home/tokens/valid.bin" --lengths 64,128,256,512 --beyond tile \
  --output "$home/run-$run/evaluation-1" ${report[@]+"${report[@]}"}
echo "quickstart: training in $home/run-$run (summary.json, metrics.jsonl; tensorboard --logdir $home/run-$run)"
if [ ${#report[@]} -eq 0 ]; then
  echo "quickstart: report: $PWD/$home/run-$run/evaluation-1/report.html"
else
  echo "quickstart: evaluation in $home/run-$run/evaluation-1; no report, as set-up could not install matplotlib"
fi
