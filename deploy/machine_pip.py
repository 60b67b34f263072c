"""Lets pip inside an image build reach what this machine's pip reaches, without naming any index in the repository.

Reads `pip config list` here, writes a pip.conf that says the same, and prints one line for each volume the build
needs: that file, and every local folder or certificate it names. Standard library only; knows nothing of the image.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

TAKEN = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "proxy", "default-timeout")
"""Where packages come from; the rest of a machine's configuration (user installs, caches) is not the image's."""


def read_config(listing: str) -> dict[str, str]:
    """Reads the output of `pip config list`; what the environment sets comes first there and wins."""
    known: dict[str, str] = {}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        key = name.rpartition(".")[2]
        if separator and key in TAKEN:
            known.setdefault(key, str(ast.literal_eval(value)))
    return known


def local_paths(config: Mapping[str, str]) -> Iterator[Path]:
    """The folders and files of this machine that a configuration names."""
    for word in " ".join(config.values()).split():
        # An index in a folder links to files beside it, so its parent is needed.
        path = Path(word.removeprefix("file://")).parent if word.startswith("file:///") else Path(word)
        if path.is_absolute() and path.exists():
            yield path


def main(pip_conf: Path) -> None:
    """Writes `pip_conf` and prints a `--volume` value on each line."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    config = read_config(listing)
    lines = [f"{key} = {' '.join(value.split())}" for key, value in config.items()]
    pip_conf.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")
    volumes = [f"{pip_conf}:/etc/pip.conf:ro", *sorted({f"{path}:{path}:ro" for path in local_paths(config)})]
    sys.stdout.write("".join(f"{volume}\n" for volume in volumes))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
