#!/bin/sh
# The ablation in quality.md: what Diffuse gains from Extract's estimate and from its latents.
#
#   sh docs/ablation.sh DATA OUT [MINUTES [AT_ONCE]]
#
# Trains four variants with two seeds on the shipped Extract, each on one core for MINUTES (20), AT_ONCE (2) beside
# each other, and measures all of them on the validation set. Run again, it goes on where it ended. It takes exdiff with its
# extra eval, python and jq.
set -eu
data=$1 out=$2 minutes=${3:-20} at_once=${4:-2}
mkdir -p "$out"

train() { # NAME-SEED OPTIONS...
    run=$1
    shift
    [ -e "$out/$run/config.toml" ] && return
    OMP_NUM_THREADS=1 exdiff train diffuse --data "$data" --out "$out/runs/$run" --resume --max-time "${minutes}m" \
        --validate-every "${minutes}m" --seed "${run##*-}" --threads 1 "$@"
    exdiff bundle --extract "$EXTRACT" --diffuse "$out/runs/$run/last.safetensors" --out "$out/$run"
}

if [ "${EXTRACT:-}" ]; then # One run, called from below.
    shift 4
    train "$@"
    exit
fi

EXTRACT=$(exdiff models --json | jq -r .folder | head -n 1)/extract.safetensors
export EXTRACT
for seed in 1 2; do
    echo "neither-$seed --no-estimate --no-latents"
    echo "estimate-$seed --estimate --no-latents"
    echo "latents-$seed --no-estimate --latents"
    echo "both-$seed --estimate --latents"
done | xargs -P "$at_once" -L 1 sh "$0" "$data" "$out" "$minutes" "$at_once"

if [ ! -d "$out/valid" ]; then
    exdiff train validation --data "$data" --out "$out/valid"
    rm "$out"/valid/*/*_[234].wav # two of five rounds of the scenes: 80 mixtures
fi
set --
for run in "$out"/*-[12]; do
    set -- "$@" --against "$run"
done
exdiff evaluate "$out/valid" "$@" --no-latents --measures pesq,estoi,separation,pauses,dnsmos --csv "$out/scores.csv" \
    --json >"$out/scores.json"
python "$(dirname "$0")/ablation.py" "$out/scores.csv"
