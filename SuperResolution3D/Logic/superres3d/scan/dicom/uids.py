"""Names for what is derived: the same for the same content, another for any other.

UIDs under 2.25 are UUIDs written as one number (PS3.5 B.2), which need no registered root.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable

_ROOT = "2.25."
#: Names the writing program in the file's head (0002,0012): that of the UUID of version 5 of the URL namespace and the project's page.
IMPLEMENTATION_CLASS_UID = _ROOT + str(uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/SuperResolution3D/SlicerSuperResolution3D").int)


def digest_of(parts: Iterable[bytes | str]) -> str:
    """SHA-256 of parts that are told from each other by their lengths, in hexadecimal."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8") if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little"))
        whole.update(data)
    return whole.hexdigest()


def uid_of(*parts: bytes | str) -> str:
    """A UID of at most 44 characters for these parts."""
    return _ROOT + str(uuid.UUID(hex=digest_of(parts)[:32], version=5).int)
