#!/usr/bin/env bash
# Measures this machine's GPU and runs the tests that need one, in eight minutes at most; prints one table.
#
#   bash infra/gpu_check.sh [FOLDER]     FOLDER (default build/gpu) gets gpu.json and the logs
#
# From a plain checkout: Python 3.12 with torch 2.11 or newer, NumPy and pydantic is enough to begin. What else is not
# installed is left out, and the table says so. PYTHON names another Python; PYTHONPATH may lead to more packages.
# COMPODIFF_GPU_DEVICE=cpu tries the same on the processor, at a tiny size.
set -euo pipefail
cd "$(dirname "$0")/.."
FOLDER=${1:-build/gpu}
PYTHON=${PYTHON:-python3}
DEVICE=${COMPODIFF_GPU_DEVICE:-cuda}
MEASURE_SECONDS=${MEASURE_SECONDS:-290}
TEST_SECONDS=${TEST_SECONDS:-170}
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
[ "$DEVICE" = cpu ] && export COMPODIFF_GPU_TESTS=cpu
mkdir -p "$FOLDER"
failed=0

echo "== what it takes"
timeout --signal=INT --kill-after=10 "$MEASURE_SECONDS" \
  "$PYTHON" -m compodiff.cli bench gpu --device "$DEVICE" --to "$FOLDER/gpu.json" 2> "$FOLDER/measure.log" || failed=1
tail -n 5 "$FOLDER/measure.log" >&2

echo "== tests marked gpu"
timeout --signal=INT --kill-after=10 "$TEST_SECONDS" \
  "$PYTHON" -m pytest -q -ra -m gpu -W default -p no:cacheprovider --durations=5 --timeout=120 tests/gpu tests/unit/training/test_reading_batches.py \
  > "$FOLDER/tests.log" 2>&1 || failed=1
tail -n 40 "$FOLDER/tests.log"
exit "$failed"
