#!/usr/bin/env bash
# Set up, then the environment's consistency, lint, format check, types and all tests.
#     ./run_tests.sh [arguments for pytest]
set -euo pipefail
cd "$(dirname "$0")"
source ./setup.sh requirements-dev.txt

python -m pip check
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
