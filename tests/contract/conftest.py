"""The fake app of the API's tests, for the contracts of other servers' clients."""

from tests.api.conftest import observer, serve

__all__ = ["observer", "serve"]
