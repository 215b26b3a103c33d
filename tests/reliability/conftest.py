"""Real servers, as the suite `services` sets them up."""

from tests.services.conftest import triton_installation

__all__ = ["triton_installation"]
