#!/usr/bin/env bash
# Builds the core and its tests under a sanitizer and runs them: native/sanitize.sh address|thread [LEVEL...]
# Without levels only the baseline kernels are compiled: one source serves every level, and instrumented
# kernels are slow to compile (at -O3 they take ten minutes).
set -euo pipefail

case "${1:-}" in
  address) flags=address,undefined ;;
  thread) flags=thread ;;
  *) echo "usage: $0 address|thread [baseline avx2 avx512]" >&2; exit 2 ;;
esac
kind=$1
shift
all_levels=ON
if [ $# -eq 0 ]; then
  all_levels=OFF
  set -- baseline
fi
root=$(cd "$(dirname "$0")/.." && pwd)
build=${POOLWISE_SANITIZE_BUILD:-$(mktemp -d)}
trap '[ -n "${POOLWISE_SANITIZE_BUILD:-}" ] || rm -rf "$build"' EXIT

cmake -S "$root" -B "$build" -DPOOLWISE_PYTHON=OFF -DPOOLWISE_CORE_TESTS=ON \
  -DPOOLWISE_SANITIZE="$flags" -DPOOLWISE_ALL_LEVELS=$all_levels \
  -DPOOLWISE_QUICK_BUILD=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
cmake --build "$build" -j "$(nproc)" --target core_test
for level in "$@"; do
  echo "== $kind, POOLWISE_ISA=$level"
  POOLWISE_ISA=$level "$build/core_test"
done
