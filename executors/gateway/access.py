"""Who calls, and what the caller may do: keys over both protocols, signed addresses, and the lines of the audit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote

from executors.documents import DEFAULT_COLLECTION, Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.keys.key import Key, Role
from executors.keys.key_ring import KeyRing
from executors.keys.limits import NO_LIMITS, Limits
from executors.keys.signatures import is_signed, sign
from executors.settings import Settings

_audit = logging.getLogger("executors.gateway.audit")
_STAGE: Final = "gateway"
KEY_HEADER: Final = "x-api-key"
_BEARER: Final = "bearer "


AddressOf: TypeAlias = Callable[[str, str], str]


def thumbnail_url(collection: str, document_id: str) -> str:
    """Return the URL of a document's thumbnail, relative to the server; it works for any id."""
    return f"/thumbnail?collection={quote(collection, safe='')}&id={quote(document_id, safe='')}"


class Guarded(Protocol):
    """What has to be known of an endpoint; see `endpoints.Endpoint`."""

    @property
    def path(self) -> str: ...

    @property
    def role(self) -> Role: ...

    @property
    def without_collection(self) -> Literal["default", "all", "nothing"]: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a request, and its rights.

    Attributes:
        name: of its key; None if no key is asked for, or if the address was signed.
        role: what it may do.
        collections: the only collections that it may use; None for all of them.
        limits: of its key.
    """

    name: str | None = None
    role: Role = "admin"
    collections: frozenset[str] | None = None
    limits: Limits = NO_LIMITS

    @classmethod
    def of(cls, key: Key, defaults: Limits) -> Identity:
        """Return the identity of those who hold a key."""
        return cls(key.name, key.role, key.collections, key.limits.over(defaults))

    def sees(self, collection: str) -> bool:
        """Return whether it may use a collection."""
        return self.collections is None or collection in self.collections


ANYONE: Final = Identity()


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """What the address of a thumbnail says about itself, not checked yet."""

    collection: str
    document_id: str
    expires: int
    signature: str


def make_access(chosen: Settings) -> Access:
    """Return what the settings ask for.

    Raises:
        VisualSearchError: `unreadable_file`, `invalid_keys`.
    """
    ring = None if chosen.keys_file is None else KeyRing(chosen.keys_file)
    limits = Limits(
        chosen.key_requests_per_second,
        chosen.key_documents_in_flight,
        chosen.key_bytes_in_flight,
        chosen.key_pixels_in_flight,
    )
    return Access(ring, chosen.thumbnail_url_s, limits, chosen.root_path)


class Access:
    """Decides who may do what.

    Args:
        ring: the keys; None if no key is asked for.
        thumbnail_url_s: seconds for which a signed address is valid.
        limits: of keys that have none of their own.
        root_path: the path below which a proxy shows the service.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        ring: KeyRing | None = None,
        thumbnail_url_s: int = 600,
        limits: Limits = NO_LIMITS,
        root_path: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._thumbnail_url_s = thumbnail_url_s
        self._limits = limits
        self._root_path = root_path
        self._clock = clock

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must send a key."""
        return self._ring is not None

    def identify(
        self, endpoint: Guarded, metadata: Mapping[str, str], address: str | None, signed: SignedAddress | None = None
    ) -> Identity:
        """Return who calls, if the caller may use the endpoint at all.

        Args:
            metadata: HTTP headers or gRPC metadata.
            address: the caller's, for the audit.
            signed: of the address of a thumbnail, in place of a key.

        Raises:
            VisualSearchError: `unauthenticated`, `forbidden`.
        """
        if self._ring is None:
            return ANYONE
        key: Key | None = None
        try:
            if signed is not None:
                return self._check_signed(self._ring, signed)
            key = self._key_of(self._ring, metadata)
            if not key.may(endpoint.role):
                raise _lacks_role(endpoint)
        except VisualSearchError as error:
            whose = "no known key" if key is None else f"key {key.name}"
            _audit.warning("refused %s from %s with %s: %s", endpoint.path, address, whose, error.message)
            raise
        return Identity.of(key, self._limits)

    def check_collections(
        self, identity: Identity, endpoint: Guarded, parameters: Any, documents: Sequence[ImageDoc]
    ) -> None:
        """Refuse collections that the caller may not use; a document of such a collection gets the error by itself.

        Raises:
            VisualSearchError: `forbidden`, whether the collection exists or not.
        """
        if identity.collections is None:
            return
        named = getattr(parameters, "collection", None)
        if named is None and endpoint.without_collection == "all":
            way_out = "this concerns all of them" if parameters is None else "name one of its collections"
            raise self._refused(identity, endpoint, way_out)
        if named is None and endpoint.without_collection == "default" and not documents:
            named = DEFAULT_COLLECTION
        if named is not None and not identity.sees(named):
            raise self._refused(identity, endpoint, f"it may not use the collection {named!r}")
        if endpoint.without_collection == "nothing":
            return
        for document in documents:
            collection = document.collection or DEFAULT_COLLECTION
            if document.error is None and not identity.sees(collection):
                error = self._refused(identity, endpoint, f"it may not use the collection {collection!r}")
                document.put(error=Failure.of(error, _STAGE))

    def note_write(self, identity: Identity, endpoint: Guarded, parameters: Any, documents: int, failed: int) -> None:
        """Write the line of the audit about a write."""
        if self._ring is not None:
            collection = getattr(parameters, "collection", None) or DEFAULT_COLLECTION
            line = "key %s: %s in %s, %d documents, %d failed"
            _audit.info(line, identity.name, endpoint.path, collection, documents, failed)

    def addresses(self) -> AddressOf:
        """Return what makes the address of a thumbnail from its collection and id, signed where keys are asked for."""
        root = self._root_path
        if self._ring is None:
            return lambda collection, name: root + thumbnail_url(collection, name)
        key, expires = self._ring.signing_keys[0], int(self._clock()) + self._thumbnail_url_s

        def signed(collection: str, name: str) -> str:
            signature = sign(key, collection, name, expires)
            return f"{root}{thumbnail_url(collection, name)}&expires={expires}&signature={signature}"

        return signed

    @property
    def problem(self) -> str | None:
        """Why the present file of keys is not used; None while it is, and without one."""
        return None if self._ring is None else self._ring.problem

    def report(self, identity: Identity) -> dict[str, Any]:
        """Return the part of `/status` about keys; the keys themselves only for those who may do everything."""
        if self._ring is None:
            return {"required": False}
        report: dict[str, Any] = {"required": True, "problem": self._ring.problem}
        if identity.role == "admin" and identity.collections is None:
            report["keys"] = [self._line(self._ring, key) for key in self._ring.keys.values()]
        return report

    def _line(self, ring: KeyRing, key: Key) -> dict[str, Any]:
        used = ring.used.get(key.name)
        return {
            "name": key.name,
            "role": key.role,
            "collections": None if key.collections is None else sorted(key.collections),
            "created": key.created,
            "last_used": None if used is None else used.isoformat(timespec="seconds"),
        }

    def _key_of(self, ring: KeyRing, metadata: Mapping[str, str]) -> Key:
        sent = set(_values(metadata, KEY_HEADER)) | {_bearer(each) for each in _values(metadata, "authorization")}
        sent -= {None, ""}
        if not sent:
            message = "a key is needed: send it as `x-api-key: KEY`, or `Authorization: Bearer KEY`"
            raise VisualSearchError("unauthenticated", message)
        if len(sent) > 1:
            raise VisualSearchError("unauthenticated", "two different keys were sent")
        key = ring.find(sent.pop() or "")
        if key is None:
            raise VisualSearchError("unauthenticated", "the key is not known")
        return key

    def _check_signed(self, ring: KeyRing, given: SignedAddress) -> Identity:
        if not is_signed(ring.signing_keys, given.signature, given.collection, given.document_id, given.expires):
            raise VisualSearchError("unauthenticated", "the signature of the address is wrong")
        if given.expires <= self._clock():
            raise VisualSearchError("unauthenticated", "the address has expired; search again for a new one")
        return Identity(None, "search", frozenset({given.collection}))

    def _refused(self, identity: Identity, endpoint: Guarded, why: str) -> VisualSearchError:
        _audit.warning("refused %s with key %s: %s", endpoint.path, identity.name, why)
        return VisualSearchError("forbidden", f"the key {identity.name!r} is limited to collections: {why}")


def _lacks_role(endpoint: Guarded) -> VisualSearchError:
    return VisualSearchError(
        "forbidden", f"this request needs a key with the role {endpoint.role!r}", role=endpoint.role
    )


def _values(metadata: Mapping[str, str], name: str) -> list[str]:
    """Return every value of a header; HTTP's may be sent several times."""
    several = getattr(metadata, "getlist", None)
    value = metadata.get(name)
    return several(name) if several is not None else [] if value is None else [value]


def _bearer(header: str) -> str | None:
    return header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else None
