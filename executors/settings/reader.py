"""The one reader of the environment. The sections beside this file hold the settings, each with its default, its range, and
one line of explanation.

The table in flows/README.md is made from `Settings`; a test compares the two. Folders default to absolute paths in the
user's data folder, so that the current directory never decides which index is used.
"""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from typing import Any, Final, get_args

from pydantic import ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from executors.errors import VisualSearchError
from executors.settings.access import AccessSettings
from executors.settings.embedding import NO_SERVERS, EmbeddingSettings
from executors.settings.flow import FlowSettings
from executors.settings.gateway import GatewaySettings
from executors.settings.index import IndexSettings
from executors.settings.opensearch import NO_URLS, OpenSearchSettings
from executors.settings.pictures import PictureSettings

# The bootstrap sets these for the flow files, from other settings.
_FLOW_VARIABLES: Final = frozenset({"VS_PORTS", "VS_STAGE_TIMEOUT_MS"})


# pydantic orders the fields from the last section to the first.
class Settings(
    OpenSearchSettings,
    IndexSettings,
    EmbeddingSettings,
    PictureSettings,
    FlowSettings,
    AccessSettings,
    GatewaySettings,
    BaseSettings,
):
    """All settings; each is the environment variable `VS_` + its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="VS_", frozen=True, extra="ignore")

    @field_validator("*", mode="before")
    @classmethod
    def _readable(cls, value: object) -> object:
        if isinstance(value, str) and any("\ud800" <= each <= "\udfff" for each in value):
            raise ValueError("it is not UTF-8")
        return value

    @model_validator(mode="after")
    def _cluster(self) -> Settings:
        if self.store == "opensearch" and not self.opensearch_urls:
            raise ValueError(NO_URLS)
        return self


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        VisualSearchError: `invalid_setting`; the message names each wrong variable and its fault.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors()]
        raise VisualSearchError("invalid_setting", "; ".join(faults), variables=faults) from None


def _fault(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"VS_{str(fault['loc'][0]).upper()}: {message}" if fault["loc"] else message


def unknown_variables() -> list[str]:
    """Return a line for each variable `VS_…` of the environment that is not a setting; it is probably misspelt."""
    known = [f"VS_{name.upper()}" for name in Settings.model_fields]
    lines = []
    for name in sorted(os.environ):
        if name.startswith("VS_") and name not in known and name not in _FLOW_VARIABLES:
            near = difflib.get_close_matches(name, known, n=1)
            lines.append(f"{name} is not a setting and has no effect{f'; did you mean {near[0]}?' if near else ''}")
    return lines


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process; they are read once."""
    return read_settings()


def with_flow_backend(chosen: Settings, backend: str | None) -> Settings:
    """Return the settings with the backend of a flow file (`uses_with: {backend: …}`), unless the environment names one.

    Raises:
        VisualSearchError: `invalid_setting` if there is no such backend.
    """
    chosen = _with_flow_choice(chosen, "embed_backend", "backend", backend)
    if chosen.embed_backend == "triton" and not chosen.triton_urls:
        raise VisualSearchError("invalid_setting", NO_SERVERS, variables=["VS_TRITON_URLS"])
    return chosen


def with_flow_store(chosen: Settings, store: str | None) -> Settings:
    """Return the settings with the store of a flow file (`uses_with: {store: …}`), unless the environment names one.

    Raises:
        VisualSearchError: `invalid_setting` if there is no such store.
    """
    chosen = _with_flow_choice(chosen, "store", "store", store)
    if chosen.store == "opensearch" and not chosen.opensearch_urls:
        raise VisualSearchError("invalid_setting", NO_URLS, variables=["VS_OPENSEARCH_URLS"])
    return chosen


def _with_flow_choice(chosen: Settings, field: str, name: str, value: str | None) -> Settings:
    """Return the settings with the value that a flow file gives for `name`, unless the environment sets the field."""
    if value is None or field in chosen.model_fields_set:
        return chosen
    known = get_args(Settings.model_fields[field].annotation)
    if value not in known:
        message = f"the flow file's {name} {value!r} is not one of {', '.join(known)}"
        raise VisualSearchError("invalid_setting", message, variables=[name])
    return chosen.model_copy(update={field: value})


def wants_json() -> bool:
    """Return whether every log line is JSON. It needs no settings, because errors in them are log lines as well."""
    return os.environ.get("VS_LOG_FORMAT", "").strip() == "json"


def visible_devices() -> str:
    """Return `CUDA_VISIBLE_DEVICES` of this process: a GPU's number or UUID, empty, or a literal `RR…`."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
