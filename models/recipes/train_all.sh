#!/usr/bin/env bash
# Every network of the plane, depth and several-task recipes, JOBS at a time on one graphics card; what was interrupted goes on.
#   models/recipes/train_all.sh SCANS RUNS MODELS [JOBS]
# The paper's schedule (100,000 steps) for its networks; the others as their recipes say, with more steps than a processor allows.
set -euo pipefail
scans=$1 runs=$2 models=$3 jobs=${4:-4}
recipes=$(dirname "$0")

train() { # name, recipe and settings
  local name=$1 recipe=$2
  shift 2
  superres3d train "$recipe" --data "$scans" --out "$runs/$name" --export "$models" --overwrite --accelerator gpu "${@/#/--set=}" > "$runs/$name.log" 2>&1 || echo "failed: $name, see $runs/$name.log"
}
export -f train
export scans runs models
mkdir -p "$runs" "$models"

{
  for modality in MR CT; do
    echo "mdsr-$modality $recipes/mdsr-3d.toml modality=$modality"
    for stage in plane depth; do
      for scale in 2 4; do
        echo "georgescu2020-$modality-$stage-x$scale $recipes/georgescu2020.toml modality=$modality stage=$stage scale=$scale steps=100000"
        echo "two-stage-residual-$modality-$stage-x$scale $recipes/two-stage-residual.toml modality=$modality stage=$stage scale=$scale steps=100000"
      done
    done
  done
} | xargs -P "$jobs" -I {} bash -c 'train {}'
