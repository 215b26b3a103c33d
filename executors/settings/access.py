"""The settings of who may call the service."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from executors.settings.values import File


class AccessSettings(BaseModel):
    """Keys, and what holds without them."""

    keys_file: File = Field(
        None,
        description="file of the keys that callers must send (`visual-search keys`); without it no key is asked for",
    )
    insecure: Literal["off", "on"] = Field(
        "off", description="`on`: listen on an address that other machines reach although no key is asked for"
    )
    thumbnail_url_s: int = Field(
        600,
        ge=10,
        le=604_800,
        description="seconds for which the address of a thumbnail in an answer is valid without a key, while keys are on",
    )
    api_key: SecretStr | None = Field(None, description="key that the command line sends to the service")
