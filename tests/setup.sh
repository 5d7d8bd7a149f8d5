#!/usr/bin/env bash
# Installs the foreign MCP servers, the official Python SDK and the official Ollama client that the tests talk to, into
# target/test-tools (or $1). Does nothing when the pinned versions are already there; fails loudly when it cannot.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
goal="${1:-${OLLMCP_TEST_TOOLS:-$here/../target/test-tools}}"
mkdir -p "$goal"
goal="$(cd "$goal" && pwd)"
want="$(cat "$here/tools/requirements.txt" "$here/tools/package.json" \
  "$here/conformance/ollama/requirements.txt" | sha256sum | cut -d' ' -f1)"

# Two test processes may come here at once: the second waits and then finds the stamp.
exec 9>"$goal/.lock"
flock 9

if [ "$(cat "$goal/.stamp" 2>/dev/null || true)" = "$want" ]; then
  exit 0
fi

fail() { echo "tests/setup.sh: $1" >&2; exit 1; }
command -v python3 >/dev/null || fail "python3 is missing; install Python 3.10 or newer"
command -v npm >/dev/null || fail "npm is missing; install Node.js 20 or newer"

rm -f "$goal/.stamp"
python3 -m venv --clear "$goal/venv" || fail "cannot make a virtual environment in $goal/venv"
"$goal/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/tools/requirements.txt" \
  || fail "pip could not install tests/tools/requirements.txt"
# Its own environment: this client and the SDK pin the same libraries at different versions.
python3 -m venv --clear "$goal/ollama" || fail "cannot make a virtual environment in $goal/ollama"
"$goal/ollama/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/conformance/ollama/requirements.txt" \
  || fail "pip could not install tests/conformance/ollama/requirements.txt"
mkdir -p "$goal/npm"
cp "$here/tools/package.json" "$goal/npm/package.json"
npm install --prefix "$goal/npm" --no-audit --no-fund --loglevel=error \
  || fail "npm could not install tests/tools/package.json"
echo "$want" > "$goal/.stamp"
