"""The keys of a running gateway: read again when their file changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError
from executors.keys.key import Key, digest_of
from executors.keys.key_file import read_keys

_log = logging.getLogger(__name__)
_LOOK_S: Final = 1.0


class KeyRing:
    """The keys of a file.

    If a new version of the file can't be used, the last good one stays, and `problem` says why.

    Args:
        file: the file of keys.
        clock: monotonic seconds.

    Attributes:
        problem: why the file as it is now is not used; None while it is.
        used: when each key was last used, by its name.

    Raises:
        VisualSearchError: `unreadable_file`, `invalid_keys`.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._stamp = self._look()
        self._keys = read_keys(file)
        self._looked_at = clock()
        self._signing_keys = [self._signing_key()]
        self.problem: str | None = None
        self.used: dict[str, datetime] = {}

    @property
    def keys(self) -> dict[str, Key]:
        """The keys by name, as the file has them now."""
        self._refresh()
        return self._keys

    @property
    def signing_keys(self) -> list[bytes]:
        """What addresses are signed with, newest first; the one before the last change is still accepted.

        It is made of the hashes, so that all gateways with this file have the same, and no secret is in the file.
        """
        self._refresh()
        return self._signing_keys

    def find(self, secret: str) -> Key | None:
        """Return the key of a secret, and note that it was used; None if there is none.

        All hashes are compared, each in constant time.
        """
        digest = digest_of(secret).encode()
        found = None
        for key in self.keys.values():
            if hmac.compare_digest(key.digest.encode(), digest):
                found = key
        if found is not None:
            self.used[found.name] = datetime.now(UTC)
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._file)
        except VisualSearchError as error:
            self.problem = error.message
            _log.error("the keys of before stay in use, because the file of keys can't be used: %s", error.message)
            return
        self.problem = None
        self._signing_keys = [self._signing_key(), self._signing_keys[0]]
        _log.info("the file of keys has changed: %d keys are in use", len(self._keys))

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _signing_key(self) -> bytes:
        digests = "\n".join(sorted(key.digest for key in self._keys.values()))
        return hashlib.sha256(f"addresses of thumbnails\n{digests}".encode()).digest()
