#!/usr/bin/env bash
# Makes the virtual environment named by its argument from the lock files beside it, with nothing but Python 3.11+.
#
# uv does the work; pip brings it, at the version and with the hashes of uv.txt. Where packages come from is this
# machine's business: what pip is told (index, mirrors, certificates), in files or PIP_*, is told to uv too, which
# would not read it; what uv is told itself, by UV_* or uv.toml, comes first. Set PYTHON to choose the interpreter.
set -euo pipefail
venv=${1:?usage: install.sh VENV}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if new_enough "$candidate"; then echo "$candidate"; return; fi
  done
  fail "Python 3.11 or newer is needed; found $(${PYTHON:-python3} --version 2>&1 || true)." \
    "Install one, or name it: make setup PYTHON=/path/to/python3.11"
}

from_pip() {  # from_pip KEY: what pip's files and environment say, the strongest last; empty where they say nothing
  # each line reads  LEVEL.key='value'  with spaces or \n between several values
  "$venv/bin/python" -m pip config list 2>/dev/null | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | tail -n 1 | sed 's/\\n/ /g'
}

tell_uv() {  # tell_uv UV_NAME VALUE: unless it is set already or there is nothing to tell
  if [ -z "${!1:-}" ] && [ -n "$2" ]; then export "$1=$2"; fi
}

if ! new_enough "$venv/bin/python"; then
  python=$(find_python)
  echo "setup: $("$python" --version) in $venv"
  "$python" -m venv --clear "$venv" || fail "$python cannot make a virtual environment; on Debian: apt install python3-venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt

tell_uv UV_DEFAULT_INDEX "$(from_pip index-url)"
tell_uv UV_INDEX "$(from_pip extra-index-url)"
tell_uv UV_FIND_LINKS "$(from_pip find-links | tr ' ' ',')"
tell_uv UV_INSECURE_HOST "$(from_pip trusted-host)"
tell_uv UV_HTTP_TIMEOUT "$(from_pip default-timeout)"
tell_uv SSL_CERT_FILE "$(from_pip cert)"
tell_uv UV_INDEX_STRATEGY unsafe-best-match  # as pip does; the hashes say which file is meant
export VIRTUAL_ENV=$PWD/$venv UV_PYTHON_DOWNLOADS=never

uv=("$venv/bin/uv")
if [ ! -t 2 ]; then  # no progress bars in a log, and not a line for each package
  uv+=(--quiet)
  echo "setup: installing $(grep -c == requirements/all.txt) packages; the first time they are several GB"
fi
"${uv[@]}" pip sync --require-hashes requirements/all.txt
"${uv[@]}" pip install --no-deps --no-build-isolation -e .
