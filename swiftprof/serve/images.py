"""Images of a request: data URIs, and addresses where they are allowed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from swiftprof.data.asking import fitted
from swiftprof.data.images import Picture, decode_base64, picture
from swiftprof.errors import BadSample
from swiftprof.serve.errors import ApiError

if TYPE_CHECKING:
    from PIL.Image import Image

    from swiftprof.models.loading import VLM

_decoding = threading.Semaphore(2)  # each may hold a few hundred MB for a moment


def load_image(
    url: str, where: str, vlm: VLM, fetch: Callable[[str], bytes] | None
) -> Image | Picture:
    """The image of an `image_url`, as the model is to see it.

    Args:
        url: a data URI with base64, or, with `fetch`, an http(s) address.
        where: path of the field, for messages.
        fetch: address → bytes; None refuses addresses.

    Raises:
        ApiError: not allowed, not reachable, not an image, or too large.
    """
    if url[:5].lower() != "data:" and fetch is None:
        raise _refusal(
            f"{where}: only data: URIs with base64 are read here (the server fetches addresses "
            "when it is started with --allow-urls)",
            where,
        )
    try:
        if fetch is None or url[:5].lower() == "data:":
            content = decode_base64(url, where)
        else:
            content = fetch(url)
        with _decoding:
            return fitted(picture(content, where), vlm)
    except BadSample as error:
        raise _refusal(str(error), where) from None
    except (OSError, ValueError) as error:
        raise _refusal(f"{where}: {error}", where) from None


def opened(image: Image | Picture) -> Image:
    """The image itself: large ones wait in the queue as their files."""
    return image.open() if isinstance(image, Picture) else image


def _refusal(message: str, where: str) -> ApiError:
    return ApiError(400, message, param=where, code="invalid_image")
