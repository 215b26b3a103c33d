"""Parses forms: each part once and in UTF-8, and names of files in all the ways that clients write them."""

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
# What browsers can't write in a quoted name (https://html.spec.whatwg.org/#escape-a-multipart-form-data-name).
_BROWSER_ESCAPES: Final = (("%22", '"'), ("%0D", "\r"), ("%0A", "\n"))
# A long name is several words.
_ENCODED_WORDS: Final = re.compile(r"=\?[^?\s]+\?[bq]\?[^?\s]*\?=(?:\s+=\?[^?\s]+\?[bq]\?[^?\s]*\?=)*", re.IGNORECASE)
_WINDOWS_PATH: Final = re.compile(r"(?:[A-Za-z]:)?\\")


class FormParser(MultiPartParser):
    """Starlette's parser of forms, with the names of files as they were meant.

    `complete` says whether the closing boundary came: the parser drops a last part that is cut off, in silence.
    """

    complete = False

    def __init__(self, *given: Any, **limits: Any) -> None:
        super().__init__(*given, **limits)
        self._given: set[str] = set()

    def on_headers_finished(self) -> None:
        """A part begins: a file, if it has a name of a file in any form."""
        disposition = self._current_part.content_disposition or b""
        name = file_name(disposition)
        if name is not None:
            # The parser only knows the plain form; this makes the part a file for it.
            self._current_part.content_disposition = disposition + b'; filename="file"'
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.filename = name

    def on_part_end(self) -> None:
        """A part is there; a text is UTF-8 (RFC 7578, 5.1.2), and what is no file stands once, but for empty fields."""
        part = self._current_part
        name = part.field_name
        if name != "file" and (part.file is not None or part.data):
            if name in self._given:
                raise MultiPartException(f"the part {name[:80]!r} stands twice")
            self._given.add(name)
        self._charset = "utf-8"
        if part.file is None and name != "file":
            try:
                part.data.decode()
            except UnicodeDecodeError:
                raise MultiPartException(f"the part {name[:80]!r} is not UTF-8") from None
        super().on_part_end()

    def on_end(self) -> None:
        """The closing boundary is there."""
        self.complete = True


def file_name(disposition: bytes) -> str | None:
    """The name of a part's file.

    `filename*` (RFC 8187: `UTF-8''na%C3%AFve.jpg`) wins over `filename`, in which .NET beside it sends an encoded word of
    mail (RFC 2047), curl a backslash before quotes, and browsers `%22` for them.

    Args:
        disposition: the value of Content-Disposition.

    Returns:
        None when the part is no file.
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
    """RFC 8187; None for what is not in that form, or not in its own charset."""
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
    """UTF-8, or else Latin-1, of a header's bytes."""
    content = value.encode("latin-1")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return value


def _mail_word(name: str) -> str:
    """RFC 2047; as it stands when it is none after all."""
    try:
        decoded = "".join(
            part.decode(charset or "ascii") if isinstance(part, bytes) else part
            for part, charset in decode_header(name)
        )
    except (HeaderParseError, LookupError, ValueError):
        return name
    return decoded if decoded and is_text(decoded) else name
