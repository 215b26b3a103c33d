"""The settings: every environment variable that the project reads, in one place."""

from executors.settings.reader import (
    Settings,
    read_settings,
    settings,
    unknown_variables,
    visible_devices,
    wants_json,
    with_flow_backend,
    with_flow_store,
)
from executors.settings.values import data_folder

__all__ = [
    "Settings",
    "data_folder",
    "read_settings",
    "settings",
    "unknown_variables",
    "visible_devices",
    "wants_json",
    "with_flow_backend",
    "with_flow_store",
]
