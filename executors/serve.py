"""The name under which notebooks and programs know `find_flow` and `serve`; they are in `executors.flow.serve`."""

from executors.flow.serve import find_flow, serve

__all__ = ["find_flow", "serve"]
