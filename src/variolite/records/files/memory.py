"""How much memory a process may still take, so that a huge file is refused and not fatal.

Polars ends the whole process where an allocation fails, so the need is estimated before reading.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO

from variolite.errors import DataError

_RATIO = 200
"""A file that holds more than this many times its size is refused: text reaches 5 to 50."""

_SMALL = 64 << 20  # Bytes that are always decompressed.
_GIB = 1 << 30


def available_memory() -> int | None:
    """Bytes that this process may still allocate; None where the system does not say."""
    limits = []
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        size, resident = (
            int(pages) * resource.getpagesize()
            for pages in Path("/proc/self/statm").read_text().split()[:2]
        )
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            limits.append(limit - size)
        # The limit of a container.
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()) - resident)
        found = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        limits.append(1024 * int(found.split()[0]))
    return max(min(limits), 0) if limits else None


def require_memory(needed: int, action: str) -> None:
    """Raise a DataError where ``action``, "reading it" say, needs more bytes than there are."""
    available = available_memory()
    if available is not None and needed > available:
        raise DataError(
            f"{action} takes about {needed / _GIB:.1f} GiB of memory, and "
            f"{available / _GIB:.1f} GiB are free",
            hint="Split the file, leave out columns or rows, or use a machine with more memory",
        )


def unpacked_limit(packed: int) -> int:
    """Bytes beyond which ``packed`` bytes are refused to be decompressed."""
    return max(_SMALL, _RATIO * packed)


def read_bounded(stream: IO[bytes] | io.BufferedIOBase, packed: int) -> bytes:
    """Read to its end what ``packed`` bytes hold; DataError where that is far more than of text."""
    limit = unpacked_limit(packed)
    available = available_memory()
    if available is not None:
        limit = min(limit, available // 2)  # The other half is for what is read out of it.
    with stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        what = f"its {packed:,} bytes decompress to more than {limit:,}"
        raise DataError(what, hint="Decompress it yourself if you trust it, and split it")
    return content


def gunzip(data: bytes) -> bytes:
    """Decompress gzip; DataError where it is damaged or holds far more than such files do."""
    try:
        return read_bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), len(data))
    except (OSError, EOFError, zlib.error) as error:
        hint = "The file is truncated or not gzip"
        raise DataError(f"cannot be decompressed ({error})", hint=hint) from None
