#!/usr/bin/env bash
# LLaVA-1.5-7B's sizes with random bfloat16 weights on one GPU of 80 GB, in ten minutes at most:
# vanilla against 192, 128 and 64 tokens at batch 1, 8 and 32, first as generate() runs by default
# (sdpa, and FlashAttention where it is installed), then compiled on static caches; then profiling.
#
#   benchmarks/gpu.sh [FOLDER]           results as JSON, with card and versions; benchmarks/results
#   SMALL=1 benchmarks/gpu.sh [FOLDER]   the same steps on any machine, with a small model
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-benchmarks/results}
limit=${LIMIT:-600} # seconds for everything; what comes too late is left out, and said
name=$(date +%F)-gpu-llava-1.5-7b
model=(--config llava-1.5-7b)
retain=192,128,64 batches=(1 8 32) repeats=5 tokens=16 samples=32
mkdir -p "$out"
if [ -n "${SMALL:-}" ]; then
  name=$(date +%F)-small model+=(--scale 0.03125)
  retain=192 batches=(1 2) repeats=1 tokens=4 samples=2
elif ! python -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
  echo "gpu.sh: torch sees no GPU; SMALL=1 tries the steps with a small model" >&2
  exit 2
fi

left_out=0
step() { # NAME COMMAND...: run it in what is left of the time, and write NAME.json
  local file="$out/$name-$1.json" left=$((limit - SECONDS))
  shift
  echo "== $file ($left s left)" >&2
  if ((left < 5)) || ! timeout "$left" "$@" --out "$file"; then
    echo "gpu.sh: left out: $*" >&2
    left_out=1
  fi
}
bench() { # NAME OPTIONS...: one file per batch size
  local kind=$1 batch
  shift
  for batch in "${batches[@]}"; do
    step "$kind-batch$batch" swiftprof bench "${model[@]}" --methods swiftvlm --retain $retain \
      --batch-size "$batch" --max-new-tokens $tokens --repeats $repeats "$@"
  done
}

bench sdpa
if python -c 'from transformers.utils import is_flash_attn_2_available as there
raise SystemExit(not there())'; then
  bench flash --attn flash_attention_2
fi
step profile python -m benchmarks.profile_speed "${model[@]}" --datasets scenes-qa \
  --samples $samples --naive-samples 2 --repeats 1
bench compiled --compile
echo "gpu.sh: took $SECONDS s" >&2
exit $left_out
