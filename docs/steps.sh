#!/bin/sh
# The curve in quality.md: how good a number of steps is, and how long it takes.
#
#   sh docs/steps.sh VALID OUT
#
# Measures 0 (Extract alone), 1, 2, 4 and 8 steps on VALID, which `exdiff train validation` wrote, then their speed on two
# minutes of talk. Run again, it does only what is not there. It takes exdiff with its extra eval, python and jq; nothing
# else should run meanwhile.
set -eu
valid=$1 out=$2
mkdir -p "$out"
[ -e "$out/scores.csv" ] || exdiff evaluate "$valid" --steps 1,2,4,8 --no-latents --measures \
    pesq,estoi,separation,pauses,dnsmos --csv "$out/scores.csv" --json >"$out/scores.json"
for steps in 0 1 2 4 8; do
    [ -e "$out/bench-$steps.json" ] || exdiff bench --steps "$steps" --seconds 120 --json >"$out/bench-$steps.json"
done
python "$(dirname "$0")/steps.py" "$out/scores.csv" "$out"/bench-*.json --plot "$out/steps.png"
