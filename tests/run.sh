#!/usr/bin/env bash
# Runs every test. What tests need beside cargo (tool servers of others, at fixed versions) is installed below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -f tests/setup.sh ]; then
  bash tests/setup.sh
fi
exec cargo test --locked "$@"
