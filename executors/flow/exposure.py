"""Refuses a service that other machines reach although it asks for no key. Pure functions."""

from __future__ import annotations

from executors.errors import VisualSearchError
from executors.hosts import is_loopback
from executors.keys.key_file import read_keys
from executors.settings import Settings


def check_exposure(host: str, chosen: Settings) -> None:
    """Check the file of keys, if there is one; without one, refuse an address that other machines reach.

    Args:
        host: the address that the gateway listens on.

    Raises:
        VisualSearchError: `invalid_setting`; `unreadable_file` or `invalid_keys` of the file.
    """
    if chosen.keys_file is not None:
        try:
            keys = read_keys(chosen.keys_file)
        except VisualSearchError as error:
            message = f"VS_KEYS_FILE: {error.message}; `visual-search keys create` makes a key"
            raise VisualSearchError(error.code, message, **error.details) from None
        if not keys:
            message = f"VS_KEYS_FILE: {chosen.keys_file} has no key; `visual-search keys create` makes one"
            raise VisualSearchError("invalid_keys", message)
        return
    if not is_loopback(host) and chosen.insecure == "off":
        message = (
            f"VS_HOST: other machines reach {host}, and no key is asked for; make keys with `visual-search keys create` and "
            "set VS_KEYS_FILE, or set VS_INSECURE=on if everyone who reaches this address may read, write and delete"
        )
        raise VisualSearchError("invalid_setting", message, variables=["VS_HOST", "VS_KEYS_FILE", "VS_INSECURE"])
