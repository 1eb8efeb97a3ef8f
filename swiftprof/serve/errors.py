"""What a client is told when a request cannot be served, in the shape of OpenAI's errors."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A refusal.

    Args:
        status: of HTTP.
        message: what is wrong and what to do.
        param: path of the field, as ``messages[0].content[1].image_url.url``.
        code: for programs, as ``model_not_found``.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }
