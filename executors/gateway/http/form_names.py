"""Parses forms. Each part may be given once and must be UTF-8; file names are read in every form that clients write."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.formparsers import MultiPartException, MultiPartParser

from executors.document_values import is_text

_PARAMETER: Final = re.compile(r';\s*([^=;\s]+)\s*=\s*("(?:\\.|[^"\\])*"(?=\s*(?:;|$))|[^;]*)', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\([\\"])')
# How browsers write these characters in a quoted name (https://html.spec.whatwg.org/#escape-a-multipart-form-data-name).
_BROWSER_ESCAPES: Final = (("%22", '"'), ("%0D", "\r"), ("%0A", "\n"))
# A long name is written as several encoded words.
_ENCODED_WORDS: Final = re.compile(r"=\?[^?\s]+\?[bq]\?[^?\s]*\?=(?:\s+=\?[^?\s]+\?[bq]\?[^?\s]*\?=)*", re.IGNORECASE)
_WINDOWS_PATH: Final = re.compile(r"(?:[A-Za-z]:)?\\")


class FormParser(MultiPartParser):
    """Starlette's parser of forms, with the file names as the sender meant them.

    `complete` says whether the closing boundary arrived: the parser silently drops a last part that is cut off.
    """

    complete = False

    def __init__(self, *given: Any, **limits: Any) -> None:
        super().__init__(*given, **limits)
        self._given: set[str] = set()

    def on_headers_finished(self) -> None:
        """Begin a part; it is a file if it has a file name in any form."""
        disposition = self._current_part.content_disposition or b""
        name = file_name(disposition)
        if name is not None:
            # Starlette's parser knows only the plain form; with this it takes the part for a file.
            self._current_part.content_disposition = disposition + b'; filename="file"'
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.filename = name

    def on_part_end(self) -> None:
        """End a part. Text must be UTF-8 (RFC 7578, 5.1.2); a field may be given only once, unless it is empty."""
        part = self._current_part
        name = part.field_name
        if name != "file" and (part.file is not None or part.data):
            if name in self._given:
                raise MultiPartException(f"the form has the part {name[:80]!r} twice")
            self._given.add(name)
        self._charset = "utf-8"
        if part.file is None and name != "file":
            try:
                part.data.decode()
            except UnicodeDecodeError:
                raise MultiPartException(f"the part {name[:80]!r} is not UTF-8") from None
        super().on_part_end()

    def on_end(self) -> None:
        """Note that the closing boundary arrived."""
        self.complete = True


def file_name(disposition: bytes) -> str | None:
    """Return the file name of a part.

    `filename*` (RFC 8187: `UTF-8''na%C3%AFve.jpg`) wins over `filename`. In `filename`, .NET writes an encoded word of mail
    (RFC 2047), curl writes a backslash before quotes, and browsers write `%22` for quotes.

    Args:
        disposition: the value of Content-Disposition.

    Returns:
        None if the part is not a file.
    """
    given = {name.lower(): value.strip() for name, value in _PARAMETER.findall(disposition.decode("latin-1"))}
    extended = _extended(given.get("filename*", ""))
    if extended is not None:
        return extended
    if "filename" not in given:
        return None
    name = _text(_unquoted(given["filename"]))
    if _ENCODED_WORDS.fullmatch(name):
        name = _mail_word(name)
    for escaped, meant in _BROWSER_ESCAPES:
        name = name.replace(escaped, meant).replace(escaped.lower(), meant)
    return name.rpartition("\\")[2] if _WINDOWS_PATH.match(name) else name


def _extended(value: str) -> str | None:
    """Decode a name of RFC 8187; None if it has another form, or does not match its own charset."""
    charset, quote, rest = _unquoted(value).partition("'")
    _, second, text = rest.partition("'")
    if not quote or not second or not text:
        return None
    try:
        name = unquote_to_bytes(text).decode(charset)
    except (LookupError, ValueError):
        return None
    return name if is_text(name) else None


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(r"\1", value[1:-1])


def _text(value: str) -> str:
    """Decode the bytes of a header as UTF-8, or as Latin-1 if they are not UTF-8."""
    content = value.encode("latin-1")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return value


def _mail_word(name: str) -> str:
    """Decode a name of RFC 2047; return it unchanged if it can't be decoded."""
    try:
        decoded = "".join(
            part.decode(charset or "ascii") if isinstance(part, bytes) else part
            for part, charset in decode_header(name)
        )
    except (HeaderParseError, LookupError, ValueError):
        return name
    return decoded if decoded and is_text(decoded) else name
