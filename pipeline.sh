#!/usr/bin/env bash
# Set up, check the params, reproduce what changed, print the result.
#     ./pipeline.sh
#     ./pipeline.sh train@body                  # arguments go to `dvc repro`: only that far
#     ./pipeline.sh --profile profiles/lip.yaml --data data/lip
# The last form runs in runs/lip, a workspace of its own, so params.yaml and results/ stay.
set -euo pipefail
unset CDPATH  # `cd lip` would look for it elsewhere first, and print where it is

profile='' data=''
while [ $# -gt 0 ]; do
  case $1 in
    --profile)
      profile=${2:?--profile needs a file}
      case $profile in /*) ;; *) profile=$PWD/$profile ;; esac
      shift 2 ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;;
    --data) data=$(cd "${2:?--data needs a folder}" && pwd -P); shift 2 ;;
    *) break ;;
  esac
done
cd "$(dirname "$0")"
if [ -n "$profile" ] && [ ! -f "$profile" ]; then
  echo "--profile $profile: no such file; there is: $(echo profiles/*.yaml)" >&2
  exit 2
fi
if [ -n "$profile$data" ] && { [ -z "$profile" ] || [ -z "$data" ]; }; then
  echo "--profile FILE and --data FOLDER belong together; there is: $(echo profiles/*.yaml)" >&2
  exit 2
fi

source ./setup.sh requirements.txt

if [ -n "$profile" ]; then
  run=runs/$(basename "$profile" .yaml)
  mkdir -p "$run"
  # Held until this script and DVC end: no other one may exchange the code under them.
  exec 9>"$run/.lock"
  if ! flock -n 9; then
    echo "$run: another ./pipeline.sh runs here; wait for it, or copy the profile to another name" >&2
    exit 1
  fi
  python -m final_model_stage.pipeline.merge_profile "$profile" --data "$data" --out "$run/params.yaml"
  # Nothing of an older version stays; copied with their times, so that DVC sees only what changed.
  for stage in preprocessing_stage train_stage final_model_stage; do
    rm -rf "${run:?}/$stage"
    cp -Rp "$stage" "$run/"
  done
  cp -p dvc.yaml .dvcignore "$run/"
  cache=$(realpath -m --relative-to="$run" "$(dvc cache dir)")
  cd "$run"
  # The last setting tells whether an earlier run came to the end of this.
  if ! grep -qs 'type = ' .dvc/config; then
    dvc init -q -f --no-scm
    dvc config core.analytics false
    # Not linked: a byte that flips in a file would flip in the cache too, and be restored from it.
    dvc config cache.type reflink,copy
  fi
  # That of the clone, wherever this has been moved to.
  dvc config cache.dir "$cache"
elif ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  # An unpacked copy: DVC works without Git, except for `dvc exp` and `dvc ... diff`.
  dvc config --local core.no_scm true
fi

python -m final_model_stage.pipeline.check_params
python -m final_model_stage.pipeline.check_lock
# Without targets, all that the report needs: every stage, but people are rendered only where
# data.folder is data/rendered_people.
[ $# -gt 0 ] || set -- report
dvc repro "$@"
if dvc status -q --with-deps report; then
  python -m final_model_stage.print_results
else
  echo "Other stages are not up to date; without targets all run, and the results are printed"
fi
