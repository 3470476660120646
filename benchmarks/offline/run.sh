#!/usr/bin/env bash
# Trainings of several profiles side by side on one GPU, from a bundle of benchmarks.offline.pack:
#     benchmarks/offline/run.sh BUNDLE OUT SECONDS
# In the root of this project. After SECONDS it ends what still runs and brings home what there is.
set -euo pipefail
set -m # each job is a process group of its own, and ends as a whole
bundle=$(cd "$1" && pwd) out=$2 end=$3
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
export OMP_NUM_THREADS=2 PYTHONUNBUFFERED=1 PYTHONPATH=$work/site:$PWD
SECONDS=0

mkdir -p "$work/site" "$work/trainings"
tar xJf "$bundle/weights.tar.xz" -C "$work/site"
python3 -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "$bundle"/wheels/*.whl
python3 -m benchmarks.offline.unpack "$bundle/data.tar" "$work/data"
first=''
for profile in pascal_part_gpu pascal_part_scratch_gpu as_described; do
  run=$work/trainings/$profile
  mkdir -p "$run"
  python3 -m final_model_stage.pipeline.merge_profile "profiles/$profile.yaml" --data "$work/data" --out "$run/params.yaml"
  if [ -z "$first" ]; then
    first=$run
    (cd "$run" && for stage in pack_samples class_frequencies find_grayscale; do
      python3 -m preprocessing_stage.$stage
    done) > "$work/trainings/preprocessing.log" 2>&1
  else
    mkdir -p "$run/data" "$run/results"
    ln -s "$first/data/packed" "$run/data/packed"
    ln -s "$first/results/data" "$run/results/data"
  fi
done
echo "[$SECONDS s] packed"

train() { # profile, then what to train: shared, out_of_fold or experts
  local profile=$1 name
  shift
  for name in "$@"; do (
    cd "$work/trainings/$profile"
    case $name in
      shared) module=train_stage.train_shared ;;
      out_of_fold) module=train_stage.predict_out_of_fold ;;
      *) module="train_stage.train_expert $name" ;;
    esac
    # shellcheck disable=SC2086  # module and argument are two words
    python3 -m $module > "../$profile.$name.log" 2>&1 || true
    echo "[$SECONDS s] $profile $name" | tee -a "$work/trainings/ended.log"
  ) & done
  wait
}

all='person body upper_body lower_body'
python3 -m pytest -q -m gpu tests > "$work/trainings/tests.log" 2>&1 &
train pascal_part_gpu person &
(train pascal_part_gpu shared out_of_fold
 train pascal_part_gpu body upper_body lower_body
 # shellcheck disable=SC2086  # a list
 train as_described $all) &
(train pascal_part_scratch_gpu shared out_of_fold
 # shellcheck disable=SC2086
 train pascal_part_scratch_gpu $all) &
while [ $SECONDS -lt "$end" ] && [ -n "$(jobs -r)" ]; do
  sleep 15
  CUDA_VISIBLE_DEVICES='' python3 -m benchmarks.offline.collect "$work/trainings" "$out"
done
CUDA_VISIBLE_DEVICES='' python3 -m benchmarks.offline.collect "$work/trainings" "$out" --last
for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
tail -n 3 "$work/trainings/tests.log"
echo "[$SECONDS s] end"
