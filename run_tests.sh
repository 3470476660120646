#!/usr/bin/env bash
# Set up, then the environment's consistency, lint, format check, spelling, types and all tests.
#     ./run_tests.sh [arguments for pytest]       e.g. -m "not slow"
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh dev

python -m pip check
ruff check .
ruff format --check .
codespell
mypy
# A file's tests run in one process, so that its fixtures are made once.
python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
