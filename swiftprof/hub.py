"""The Hugging Face Hub: plans that somebody shared, `hf://owner/name[@revision]`, and refusals.

`swiftprof share` writes such a repository: plan.json, curve.json, a picture and a card. Reading
takes single named files of bounded size and runs nothing of them.
"""

from __future__ import annotations

import re
from pathlib import Path

from swiftprof.errors import SwiftprofError, reason

PREFIX = "hf://"
PLAN, CURVE, PROFILE = "plan.json", "curve.json", "profile.json"
_NO_CONNECTION = {"ConnectError", "ConnectTimeout", "ReadTimeout", "NewConnectionError"}
"""Classes that httpx, requests and urllib3 have of their own for it."""
_REFERENCE = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")


def is_shared(reference: object) -> bool:
    """Whether a plan or profile is named on the hub."""
    return str(reference).startswith(PREFIX)


def fetch(reference: str, filename: str) -> Path:
    """A file of a shared repository, in the local cache.

    Args:
        reference: `hf://owner/name`, with `@revision` for a commit, tag or branch.
        filename: of the file in it.

    Raises:
        SwiftprofError: no such repository, revision or file, or the hub cannot be reached.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise SwiftprofError(f"{reference}: must be hf://owner/name or hf://owner/name@revision")
    from huggingface_hub import errors, hf_hub_download

    repository, revision = found["repo"], found["revision"]
    try:
        return Path(hf_hub_download(repository, filename, revision=revision))
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        why = refusal(error, repository, revision)
        if why is None and isinstance(error, errors.EntryNotFoundError):
            why = f"it holds no {filename}; swiftprof share writes one"
        raise SwiftprofError(f"{reference}: {why or f'cannot be read: {reason(error)}'}") from None


def refusal(error: BaseException, repository: str, revision: str | None) -> str | None:
    """Why the hub does not give what was asked for, and what to do; None for other troubles."""
    from huggingface_hub import errors

    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = {kind.__name__ for each in causes for kind in type(each).__mro__}

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in causes)

    if any_is(errors.GatedRepoError):
        return (
            f"{repository} is gated; accept its terms at https://huggingface.co/{repository}, then "
            "`hf auth login`"
        )
    if any_is(errors.RevisionNotFoundError):
        return (
            f"`revision` {revision}: {repository} has no such commit, tag or branch; leave it out "
            "for the newest"
        )
    if any_is(errors.RepositoryNotFoundError):
        return (
            f"the hub has no {repository}, or it is private; check the spelling, or `hf auth login`"
        )
    offline = any_is(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError)
    if offline or names & _NO_CONNECTION:
        return (
            f"{repository} is not in the local cache and the hub cannot be reached; check the "
            f"network (and HF_HUB_OFFLINE), or fetch it elsewhere with `hf download {repository}`"
        )
    return None
