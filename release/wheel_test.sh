#!/bin/sh
# make test-wheel, make lowest: the wheel in dist/, installed in an environment of its own, tried where src/ is not.
# $1: `newest` or `lowest` (the oldest dependencies that pyproject.toml allows). PYTHON names the interpreter.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
which=${1:-newest}
wheel=$(ls "$root"/dist/*.whl)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
cp -r "$root/tests" "$root/docs" "$root/deploy" "$root/bench" "$root/release" "$root/README.md" "$root/CHANGELOG.md" "$root/SECURITY.md" \
  "$root/CONTRIBUTING.md" "$root/config.example.yaml" "$root/pyproject.toml" "$place"
if [ "$which" = lowest ]; then
  # Packages without a wheel for this Python are none that anybody has there.
  uv="$root/.venv/bin/uv pip install -q --python $place/venv/bin/python"
  $uv --resolution lowest-direct --only-binary :all: -r "$root/pyproject.toml" --extra sandbox
  $uv --no-deps "$wheel"
  "$place/venv/bin/python" -m pip freeze | grep -v "^dropcap" >"$place/lowest"
  $uv -c "$place/lowest" pytest pytest-timeout pytest-xdist hypothesis PyCap mfusepy
else
  "$place/venv/bin/python" -m pip -q --disable-pip-version-check install "$wheel[dev]"
fi
cd "$place"
venv/bin/python -c 'import dropcap; print(dropcap.__version__, dropcap.__file__); assert "/venv/" in dropcap.__file__'
venv/bin/dropcap --version
venv/bin/python -m pip list 2>/dev/null | grep -iE "^(watchdog|requests|pyyaml|structlog|google-re2|truststore|click|rich|pillow|cheroot|defusedxml) "
# Not those that read the sources.
venv/bin/python -m pytest -q -n "${WORKERS:-2}" ${TESTS:-tests/cli tests/config tests/content tests/daemon tests/delivery tests/filing tests/ledger tests/redcap tests/e2e}
