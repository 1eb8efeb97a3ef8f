"""How a model is loaded: the options of the command line, checked before anything is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swiftprof.errors import BadParameter, did_you_mean

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("sdpa", "eager", "flash_attention_2")

_PROCESSOR = "processor."


@dataclass(frozen=True)
class LoadSettings:
    """Options of `swiftprof.models.loading.load`, which explains them."""

    dtype: str = "auto"
    device: str = "auto"
    attn: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    device_map: str | None = None
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    model_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bits(self) -> int | None:
        """Bits of a quantised weight; None without quantisation."""
        return 8 if self.load_in_8bit else 4 if self.load_in_4bit else None

    @property
    def moves_itself(self) -> bool:
        """Whether the model is moved to the device after loading, not spread while it loads."""
        return self.device_map is None and self.bits is None

    def checked(self) -> LoadSettings:
        """These settings with `auto` resolved.

        Raises:
            SwiftprofError: values that do not exist or do not go together.
        """
        import torch

        gpu = torch.cuda.is_available()
        device = self.device
        if device == "auto":
            device = "cuda" if gpu else "cpu"
        self._check_device(device, gpu)
        if self.dtype != "auto" and self.dtype not in DTYPES:
            raise BadParameter("dtype", self.dtype, f"take one of auto, {', '.join(DTYPES)}")
        dtype = self.dtype
        if dtype == "auto" and (self.bits or device == "cpu"):
            # bitsandbytes multiplies 8-bit weights in float16
            dtype = {8: "float16", 4: "bfloat16", None: "float32"}[self.bits]
        if self.load_in_8bit and self.load_in_4bit:
            raise BadParameter("load_in_8bit and load_in_4bit", None, "give only one of them")
        if self.device_map is not None and self.device != "auto":
            raise BadParameter("device and device_map", None, "give only one of them")
        self._check_attention(device, dtype)
        return replace(self, device=device, dtype=dtype)

    def _check_device(self, device: str, gpu: bool) -> None:
        import torch

        try:
            kind, index = torch.device(device).type, torch.device(device).index
        except RuntimeError:
            raise BadParameter("device", device, "take cpu, cuda, cuda:1 … or auto") from None
        if kind == "cuda" and not gpu:
            raise BadParameter("device", device, "PyTorch sees no GPU here; use `device` cpu")
        if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            raise BadParameter("device", device, f"the GPUs here are cuda:0 to cuda:{last}")

    def _check_attention(self, device: str, dtype: str) -> None:
        attn = self.attn
        if attn is None or attn in ("sdpa", "eager"):
            return
        if "flash" not in attn:
            raise BadParameter("attn", attn, did_you_mean(attn, ATTENTION))
        if device == "cpu":
            raise BadParameter("attn", attn, "FlashAttention needs a GPU; use `attn` sdpa")
        if dtype == "float32":
            raise BadParameter(
                "attn", attn, "FlashAttention computes in half precision; add `dtype` bfloat16"
            )

    def shared(self) -> dict[str, Any]:
        """Arguments of every `from_pretrained`."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def processor_args(self) -> dict[str, Any]:
        """Further arguments of the processor's `from_pretrained`."""
        named = self.model_args.items()
        return {k.removeprefix(_PROCESSOR): v for k, v in named if k.startswith(_PROCESSOR)}

    def model_options(self) -> dict[str, Any]:
        """Further arguments of the model's `from_pretrained`."""
        import torch

        dtype: Any = "auto" if self.dtype == "auto" else getattr(torch, self.dtype)
        options: dict[str, Any] = {"use_safetensors": True, "dtype": dtype}
        if self.attn is not None:
            options["attn_implementation"] = self.attn
        if self.device_map is not None:
            options["device_map"] = self.device_map
        if self.bits:
            from transformers import BitsAndBytesConfig

            compute = {} if dtype == "auto" else {"bnb_4bit_compute_dtype": dtype}
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.load_in_8bit, load_in_4bit=self.load_in_4bit, **compute
            )
            options.setdefault("device_map", {"": self.device})
        named = self.model_args.items()
        return {**options, **{k: v for k, v in named if not k.startswith(_PROCESSOR)}}

    def said(self) -> tuple[str, ...]:
        """What decides results beside dtype and attention, to be recorded with them."""
        quantised = (f"load_in_{self.bits}bit",) if self.bits else ()
        return quantised + tuple(f"{k}={json.dumps(v)}" for k, v in sorted(self.model_args.items()))


def parse_model_args(given: Iterable[str]) -> dict[str, Any]:
    """`["k=v", …]` as a dictionary; values are read as JSON where they are JSON, else as text.

    Raises:
        SwiftprofError: no equals sign, or a name given twice.
    """
    out: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise BadParameter("model_args", text, "must be name=value")
        if name in out:
            raise BadParameter("model_args", name, "given twice")
        try:
            out[name] = json.loads(value)
        except ValueError:
            out[name] = value
    return out
