"""What a server takes, so that no request can keep it from the others."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Attributes:
        num_bytes: of a request.
        num_pixels: of a photo, however few bytes it has.
        num_requests: that are read, wait or are computed at a time; one is computed at a time.
        upload_seconds: until a request must have been read.
        seconds: until it must have been answered.
    """

    num_bytes: int = 32 * 2**20
    num_pixels: int = 64_000_000
    num_requests: int = 256
    upload_seconds: float = 60.0
    seconds: float = 300.0
