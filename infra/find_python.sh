#!/usr/bin/env bash
# Print the newest Python that serves, or say in one line how to get one: bash infra/find_python.sh [PYTHON]
# Each one is started, not only looked for: pyenv puts commands on the path that only say that they are not there.
set -euo pipefail
versions="3.13 3.12 3.11" # newest first; pyproject.toml, constraints.txt and README.md say the same

has_version() {
  "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] not in '$versions'.split())" > /dev/null 2>&1
}

can_make_environments() { # Debian leaves ensurepip to a package of its own; uv brings its own pip
  command -v uv > /dev/null 2>&1 || "$1" -c "import ensurepip, venv" > /dev/null 2>&1
}

way_out() {
  if command -v uv > /dev/null 2>&1; then echo "uv python install ${versions%% *}"
  elif [ "$(uname)" = Darwin ]; then echo "brew install python@${versions%% *}"
  elif command -v apt-get > /dev/null 2>&1; then echo "sudo apt install python3-venv (Ubuntu 24.04, Debian 12 and later)"
  elif command -v dnf > /dev/null 2>&1; then echo "sudo dnf install python${versions%% *}"
  else echo "see python.org/downloads"
  fi
}

refuse() {
  local all_but_last=${versions% *}
  echo "make: $1; Python ${all_but_last// /, } or ${versions##* } serves. To get one: $(way_out)" >&2
  exit 1
}

asked=${1:-}
if [ -n "$asked" ]; then set -- "$asked"
else set -- $(printf 'python%s ' $versions) python3 python
fi

without_venv=
for candidate in "$@"; do
  has_version "$candidate" || continue
  if can_make_environments "$candidate"; then
    "$candidate" -c "import sys; print(sys.executable)"
    exit
  fi
  without_venv=${without_venv:-$candidate}
done

if [ -n "$without_venv" ]; then
  echo "make: $without_venv is there, but cannot make virtual environments; run: sudo apt install $without_venv-venv" >&2
  exit 1
elif [ -z "$asked" ]; then refuse "no Python that serves is on the path"
elif version=$("$asked" -V 2> /dev/null); then refuse "PYTHON=$asked is $version"
else refuse "PYTHON=$asked is not there"
fi
