"""What can go wrong with a checkpoint, each in one line that says what to type next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from swiftprof.errors import SwiftprofError
from swiftprof.models.registry import ModelSource, supported

_INSTEAD = {
    "llava_llama": "it is in the format of LLaVA's own code; take llava-hf/llava-1.5-7b-hf",
    "llava_mistral": (
        "it is in the format of LLaVA's own code; take llava-hf/llava-v1.6-mistral-7b-hf"
    ),
    "llava_qwen": (
        "it is in the format of LLaVA's own code; take llava-hf/llava-onevision-qwen2-7b-ov-hf"
    ),
    "internvl_chat": "it is in the format of InternVL's own code; take the one ending in -hf",
}


def unsupported(model_type: str, where: str) -> SwiftprofError:
    """The error for a model type that no family has."""
    if not model_type:
        return SwiftprofError(
            f"{where}: has no config.json with a model_type; give a transformers checkpoint"
        )
    what = _INSTEAD.get(model_type)
    if what is None:
        what = f"supported are {supported()}; docs/models.md tells how to add a family"
    return SwiftprofError(f"{where}: models of type '{model_type}' are not supported: {what}")


@contextmanager
def one_line(source: ModelSource, revision: str | None) -> Iterator[None]:
    """Turn whatever the libraries raise while a model is read into one `SwiftprofError`."""
    from safetensors import SafetensorError

    expected = (OSError, ValueError, ImportError, KeyError, TypeError, MemoryError, SafetensorError)
    try:
        yield
    except SwiftprofError:
        raise
    except expected as error:
        raise SwiftprofError(explain(error, source, revision)) from error
    except RuntimeError as error:
        if "out of memory" in str(error).lower() or "not enough memory" in str(error).lower():
            raise SwiftprofError(explain(error, source, revision)) from error
        raise


def explain(error: BaseException, source: ModelSource, revision: str | None) -> str:
    """Why a model cannot be read, and what to do."""
    from huggingface_hub import errors as hub

    name, where = source.name, source.id
    causes = list(_causes(error))

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in causes)

    if any_is(hub.GatedRepoError):
        return (
            f"model {name!r}: {where} is gated; accept its terms at "
            f"https://huggingface.co/{where}, then `hf auth login`"
        )
    if any_is(hub.RevisionNotFoundError):
        return (
            f"`revision` {revision}: {where} has no such commit, tag or branch; "
            "leave it out for the newest"
        )
    if any_is(hub.RepositoryNotFoundError):
        return (
            f"model {name!r}: the hub has no {where}, or it is private; check the spelling, "
            "or `hf auth login`"
        )
    if any_is(hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, ConnectionError) or any(
        _is_connection(each) for each in causes
    ):
        return (
            f"model {name!r}: {where} is not in the local cache and the hub cannot be reached; "
            f"check the network (and HF_HUB_OFFLINE), or fetch it elsewhere with `hf download "
            f"{where}` and give the folder"
        )
    for each in causes:
        if isinstance(each, OSError) and each.errno == errno.ENOSPC:
            return f"model {name!r}: the disk is full; free space, or point HF_HOME to another"
    if any_is(MemoryError) or "out of memory" in str(error).lower():
        return (
            f"model {name!r}: out of memory while it was read; try `dtype` bfloat16, "
            "`load_in_4bit` or `device_map` auto"
        )
    if isinstance(error, ImportError):
        return f"model {name!r}: {_first(error)}"
    if any_is(hub.EntryNotFoundError):
        return f"model {name!r}: {where} lacks a file: {_first(error)}"
    return f"model {name!r} cannot be loaded from {where}: {_first(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_connection(error: BaseException) -> bool:
    """httpx, requests and urllib3 have classes of their own for it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ConnectError", "ConnectTimeout", "ReadTimeout", "NewConnectionError"})


def _first(error: BaseException) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
