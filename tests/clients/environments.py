"""Virtual environments of client packages whose pins clash with ours, or with each other's.

Run as a module it makes all of them, side by side; a group is made anew when its pins have changed. The lists in
`requirements/clients-*.txt` are complete, so that pip has nothing to resolve.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
GROUPS = ("apps", "light", "triton")


def python_of(group: str) -> Path:
    """The interpreter of a group's environment, made if it is not there as pinned."""
    pins = ROOT / "requirements" / f"clients-{group}.txt"
    folder = FOLDER / group
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    wanted = f"{sys.version}\n{pins.read_text(encoding='utf-8')}"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        venv.create(folder, clear=True, with_pip=False)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "--no-compile", "-r", str(pins)], check=True)
        subprocess.run([*pip, "check"], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def main() -> None:
    """Makes all environments and says how long each took."""

    def made(group: str) -> str:
        started_s = time.monotonic()
        return f"{python_of(group)}: ready after {time.monotonic() - started_s:.0f} s"

    with ThreadPoolExecutor() as pool:
        for line in pool.map(made, GROUPS):
            print(line, flush=True)


if __name__ == "__main__":
    main()
