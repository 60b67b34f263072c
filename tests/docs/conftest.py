"""Examples use the Python client: its source is on the path where it is not installed."""

import tests.client.conftest  # noqa: F401 # which does exactly that when it is imported
