# Sourced by pipeline.sh and run_tests.sh: a virtual environment in .venv with what is wanted.
#     source ./setup.sh requirements.txt    # the pipeline's
#     source ./setup.sh predict             # prediction's alone, without PyTorch
#     source ./setup.sh dev                 # or other extras of pyproject.toml: dev, or export,demo

# Broken off, or without the system's ensurepip, one has a Python but no pip.
if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/pip ]; then
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "${python:-}" ]; then
    echo "Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=/path/to/python" >&2
    return 1
  fi
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
export PATH="$PWD/.venv/bin:$PATH"

# A stamp saves pip's look at every package; a package that satisfies its pin is kept as it is.
hash=$(cat requirements-predict.txt requirements.txt requirements.lock pyproject.toml | sha256sum | head -c 16)
stamp=.venv/installed-$hash-$1
if [ ! -e "$stamp" ]; then
  # What was installed for other requirements is about to change.
  find .venv -maxdepth 1 -name 'installed-*' ! -name "installed-$hash-*" -exec rm {} +
  echo "Installing $1"
  case $1 in
    requirements.txt) wanted=(-r requirements.txt) ;;
    predict) wanted=(--no-compile -e ".[predict]") ;;
    *) wanted=(-r requirements.txt -e ".[$1]") ;;
  esac
  case "$(python -V) $(uname -sm)" in # for which the lock file has what those bring along
    "Python 3.11."*" Linux x86_64") wanted+=(-c requirements.lock) ;;
  esac
  python -m pip install --disable-pip-version-check "${wanted[@]}" || return 1
  touch "$stamp"
fi

# In a log file, a line every ten seconds instead of a moving bar.
[ -t 2 ] || export TQDM_MININTERVAL=10
