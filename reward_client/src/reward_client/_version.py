"""The one place of the version, apart from pyproject.toml; a test keeps the two equal."""

__version__ = "0.1.0"
