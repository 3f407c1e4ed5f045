#!/usr/bin/env bash
# Plants the faults of tests/mutation/faults into one build, switched by the environment variable RSE_FAULT, and asks
# which test notices each. A fault that nobody notices is a missing test: the script prints it and exits with code 1.
#
#   scripts/mutate.sh                       all faults that need no GPU: plants, builds, runs every test without a fault,
#                                           then each fault's tests, its layer's own and those above, until one fails
#   scripts/mutate.sh --gpu                 those that need a GPU instead
#   scripts/mutate.sh --only 'train.*'      some of them; --layers data,run likewise
#   scripts/mutate.sh --steps plant,build   a part of the work; the next call may go on with --steps baseline,faults
#   scripts/mutate.sh --list                what the faults are; --check: whether all of them still fit the tree
#   --jobs N  faults at once     --json FILE  the results     --output DIR  instead of build/mutation
#
# Run scripts/setup.sh before. The build takes as long as that of the project and about 3 GB in build/mutation.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 tests/mutation/mutate.py "$@"
