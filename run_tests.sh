#!/usr/bin/env bash
# Set up, then the environment's consistency, lint, format check, spelling, types and all tests.
#     ./run_tests.sh
#     ./run_tests.sh -m "not slow"              # arguments go to pytest
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit ;; esac
cd "$(dirname "$0")"
source ./setup.sh dev

python -m pip check
ruff check .
ruff format --check .
codespell
mypy
# A file's tests run in one process, so that its fixtures are made once.
python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
