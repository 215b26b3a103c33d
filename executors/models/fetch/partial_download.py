"""A partially downloaded file: its bytes so far, and the version that they belong to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from executors.errors import VisualSearchError


@dataclass(frozen=True, slots=True)
class Validator:
    """Identifies one version of a server's file for If-Range (RFC 9110, 8.8 and 13.1.5)."""

    value: str

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validator | None:
        """A strong entity tag, or the time of the last change if that is unambiguous; None without either."""
        tag = headers.get("ETag", "")
        if tag.startswith('"'):
            return cls(tag)
        # A weak tag says that two versions are alike, not that they are the same bytes. A time is strong only if the
        # answer is at least a second younger, since there may be two versions in one second (8.8.2.2).
        modified, date = headers.get("Last-Modified", ""), headers.get("Date", "")
        try:
            age = (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds()
        except (ValueError, TypeError):
            return None
        return cls(modified) if age >= 1 else None


class Part:
    """`<name>.part` and, beside it, `<name>.part.json` with the validator and the length of the whole.

    The note also has a digest of the address, rather than the address, which may contain credentials.
    """

    def __init__(self, target: Path, url: str, size: int | None, label: str) -> None:
        """Open the bytes that an earlier attempt left of this file, or an empty part.

        Args:
            target: the path of the complete file.
            url: its address, or any other text that tells one origin from another.
            size: the published one, in bytes, if it is known.
            label: its name in messages.
        """
        self.name = label
        self.file = target.with_name(f"{target.name}.part")
        self.validator: Validator | None = None
        self.total: int | None = None
        self._origin = hashlib.sha256(url.encode()).hexdigest()
        self._size = size
        self._note = target.with_name(f"{target.name}.part.json")
        if not self._read_note():
            self.clear()

    @property
    def length(self) -> int:
        """The number of bytes so far."""
        try:
            return self.file.stat().st_size
        except FileNotFoundError:
            return 0

    def restart(self, validator: Validator | None, total: int | None) -> None:
        """Note the version of the file before its first byte is written."""
        self.clear()
        self.validator = validator
        self.total = total if total is not None else self._size
        note = {"origin": self._origin, "validator": asdict(validator) if validator else None, "total": self.total}
        self._note.write_text(json.dumps(note), "utf-8")

    def clear(self) -> None:
        """Delete it."""
        self.file.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.validator = self.total = None

    def refuse(self, reason: str) -> VisualSearchError:
        """Delete it, and return `checksum_mismatch` to raise."""
        self.clear()
        return VisualSearchError(
            "checksum_mismatch", f"{self.name} is not the published file: {reason}", file=self.name
        )

    def check_total(self, origin: str, total: int | None) -> None:
        """Refuse a file of another length than the published one, before it is downloaded.

        Raises:
            VisualSearchError: `checksum_mismatch`.
        """
        if self._size is not None and total is not None and self._size != total:
            raise self.refuse(f"{origin} has {total:,} bytes, the published one {self._size:,}")

    def check_space(self, needed: int) -> None:
        """Report a disk that is too small before it is full.

        Raises:
            VisualSearchError: `storage_unavailable`.
        """
        free = shutil.disk_usage(self.file.parent).free
        if needed > free:
            message = f"{self.name} takes {needed / 1e6:,.0f} MB more, and {free / 1e6:,.0f} MB are free"
            raise VisualSearchError("storage_unavailable", message, file=self.name, needed=needed, free=free)

    def check_endless(self, done: int, most: int, least_free: int) -> None:
        """Stop a file of unknown length, which may never end, before it is too long or the disk is full.

        Raises:
            VisualSearchError: `checksum_mismatch` after `most` bytes, which are deleted; `storage_unavailable` when no
                more than `least_free` bytes are left, in which case the bytes so far are kept.
        """
        if done > most:
            raise self.refuse(f"its length is not known, and the server sent more than {most / 1e9:,.3g} GB")
        if (free := shutil.disk_usage(self.file.parent).free) < least_free:
            message = f"{self.name}, whose length is not known, was stopped: {free / 1e6:,.0f} MB are free"
            raise VisualSearchError("storage_unavailable", message, file=self.name, needed=least_free, free=free)

    def check_bytes(self, checksum: str) -> None:
        """Delete the part unless it is the published file.

        Raises:
            VisualSearchError: `checksum_mismatch`.
        """
        algorithm, _, expected = checksum.partition(":")
        with self.file.open("rb") as stream:
            actual = hashlib.file_digest(stream, algorithm).hexdigest()
        self.check_total("what came", self.length)
        if actual != expected:
            raise self.refuse(f"its {algorithm} is {actual}, expected {expected}; it was deleted")

    def finish(self, target: Path) -> None:
        """Give the file its name, once its bytes are on the disk."""
        with self.file.open("r+b") as stream:
            os.fsync(stream.fileno())
        self.file.replace(target)
        self._note.unlink(missing_ok=True)

    def _read_note(self) -> bool:
        """Whether there is a part from this address; a note that is cut off is ignored."""
        try:
            note = json.loads(self._note.read_bytes())
            if note["origin"] != self._origin or not self.file.is_file():
                return False
            self.validator = Validator(str(note["validator"]["value"])) if note["validator"] else None
            self.total = None if note["total"] is None else int(note["total"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        return True
