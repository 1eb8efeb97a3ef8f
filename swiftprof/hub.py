"""Plans and profiles that somebody shared on the Hugging Face Hub: `hf://owner/name[@revision]`.

`swiftprof share` writes such a repository: plan.json, curve.json, a picture and a card. Reading
takes single named files of bounded size and runs nothing of them.
"""

from __future__ import annotations

import re
from pathlib import Path

from swiftprof.errors import SwiftprofError

PREFIX = "hf://"
PLAN, CURVE, PROFILE = "plan.json", "curve.json", "profile.json"
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

    try:
        return Path(hf_hub_download(found["repo"], filename, revision=found["revision"]))
    except errors.RevisionNotFoundError:
        why = f"{found['repo']} has no revision {found['revision']}"
    except errors.GatedRepoError:
        why = "it is gated; accept its terms on the hub, then `hf auth login`"
    except errors.RepositoryNotFoundError:
        why = "the hub has no such repository, or it is private; check the name, or `hf auth login`"
    except errors.LocalEntryNotFoundError:
        why = "it is not in the local cache, and the hub cannot be reached; check the network"
    except errors.EntryNotFoundError:
        why = f"it holds no {filename}; swiftprof share writes one"
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        why = f"cannot be read: {' '.join(str(error).split())[:200]}"
    raise SwiftprofError(f"{reference}: {why}")
