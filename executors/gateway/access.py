"""Who calls, and what the caller may do: keys over both protocols, signed addresses, and the lines of the audit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence, Set
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
_KEY_HEADER: Final = "x-api-key"
_BEARER: Final = "bearer "
_MOST_NAMED: Final = 5


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


class Written(Protocol):
    """What the audit tells of a request; see `operations.request.Request`."""

    @property
    def documents(self) -> Sequence[ImageDoc]: ...

    @property
    def parameters(self) -> Any: ...


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
        self, endpoint: Guarded, secrets: Set[str], address: str | None, signed: SignedAddress | None = None
    ) -> Identity:
        """Return who calls, if the caller may use the endpoint at all.

        Args:
            secrets: the keys that were sent, see `sent_keys`.
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
            key = _key_of(self._ring, secrets)
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
            may_name = hasattr(parameters, "collection")
            way_out = "name one of its collections" if may_name else "this concerns all of them"
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

    def note_write(self, identity: Identity, endpoint: Guarded, request: Written, outcome: str) -> None:
        """Write the line of the audit about a write, which may have failed: then a part of it may be applied.

        Args:
            request: the request, as it was checked.
            outcome: how many documents failed, or the code of the error.
        """
        if self._ring is None:
            return
        named = {document.collection or DEFAULT_COLLECTION for document in request.documents}
        where = sorted(named or {getattr(request.parameters, "collection", None) or DEFAULT_COLLECTION})
        more = f" and {len(where) - _MOST_NAMED} more" if len(where) > _MOST_NAMED else ""
        places = ", ".join(where[:_MOST_NAMED]) + more
        line = "key %s: %s in %s, %d documents, %s"
        _audit.info(line, identity.name, endpoint.path, places, len(request.documents), outcome)

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


def sent_keys(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the keys in HTTP headers or gRPC metadata: names, in lower case, and values, each as often as it was sent."""
    keys = set()
    for name, value in headers:
        if name == _KEY_HEADER:
            keys.add(value)
        elif name == "authorization" and value.lower().startswith(_BEARER):
            keys.add(value[len(_BEARER) :].strip())
    return frozenset(keys - {""})


def _key_of(ring: KeyRing, secrets: Set[str]) -> Key:
    if not secrets:
        message = "a key is needed: send it as `x-api-key: KEY`, or `Authorization: Bearer KEY`"
        raise VisualSearchError("unauthenticated", message)
    if len(secrets) > 1:
        raise VisualSearchError("unauthenticated", "two different keys were sent")
    key = ring.find(next(iter(secrets)))
    if key is None:
        raise VisualSearchError("unauthenticated", "the key is not known")
    return key
