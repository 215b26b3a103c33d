"""A key and its rights. Pure values."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from executors.keys.limits import NO_LIMITS, Limits

Role: TypeAlias = Literal["search", "write", "admin"]
# Each role may do what the ones before it may.
ROLES: Final[tuple[Role, ...]] = ("search", "write", "admin")

_PREFIX: Final = "vs_"
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """The rights of those who hold a secret.

    Attributes:
        name: how people and logs call it.
        digest: the SHA-256 of the secret, in hexadecimal.
        role: what it may do.
        collections: the only collections that it may use; None for all of them.
        created: when it was made, in ISO 8601; None if the file does not tell.
        limits: its own limits.
    """

    name: str
    digest: str
    role: Role
    collections: frozenset[str] | None = None
    created: str | None = None
    limits: Limits = NO_LIMITS

    def may(self, role: Role) -> bool:
        """Return whether it may do what takes this role."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, collection: str) -> bool:
        """Return whether it may use a collection."""
        return self.collections is None or collection in self.collections


def new_secret() -> str:
    """Return a new secret of 256 random bits; the prefix lets people and scanners recognise it."""
    return _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal.

    A slow hash protects passwords, which can be guessed. 256 random bits can't, and each request has to be checked fast.
    """
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
