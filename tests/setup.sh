#!/usr/bin/env bash
# Installs what tests talk to into target/test-tools (or $1): the foreign MCP servers, the official Python SDK, the
# official clients of Ollama and Anthropic, and a real, weak language model (tests/real_model). Does nothing when the pinned
# versions are already there; fails loudly when it cannot.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
goal="${1:-${OLLMCP_TEST_TOOLS:-$here/../target/test-tools}}"
mkdir -p "$goal"
goal="$(cd "$goal" && pwd)"
want="$(cat "$here/tools/requirements.txt" "$here/tools/package.json" "$here/real_model/requirements.txt" \
  "$here/conformance/ollama/requirements.txt" | sha256sum | cut -d' ' -f1)"

# Two test processes may come here at once: the second waits and then finds the stamp.
exec 9>"$goal/.lock"
flock 9

fail() { echo "tests/setup.sh: $1" >&2; exit 1; }

# With a stamp of its own, so that another version of this client does not install everything else anew.
anthropic_wants="$(sha256sum "$here/conformance/anthropic/requirements.txt" | cut -d' ' -f1)"
if [ "$(cat "$goal/.stamp-anthropic" 2>/dev/null || true)" != "$anthropic_wants" ]; then
  command -v python3 >/dev/null || fail "python3 is missing; install Python 3.10 or newer"
  rm -f "$goal/.stamp-anthropic"
  python3 -m venv --clear "$goal/anthropic" || fail "cannot make a virtual environment in $goal/anthropic"
  "$goal/anthropic/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/conformance/anthropic/requirements.txt" \
    || fail "pip could not install tests/conformance/anthropic/requirements.txt"
  echo "$anthropic_wants" > "$goal/.stamp-anthropic"
fi

if [ "$(cat "$goal/.stamp" 2>/dev/null || true)" = "$want" ] && [ -s "$goal/real_model/model.gguf" ]; then
  exit 0
fi

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
bash "$here/real_model/setup.sh" "$goal/real_model" >/dev/null || fail "the real model could not be installed (its reason stands above)"
echo "$want" > "$goal/.stamp"
