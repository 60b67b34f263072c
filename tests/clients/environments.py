"""Virtual environments of client packages whose pins clash with ours, or with each other's.

Run as a module it makes all of them; a group is made anew when its pins have changed. The lists in
`requirements/clients-*.txt` are complete, so that there is nothing to resolve. uv installs them, in a twentieth of
pip's time; pip does where uv does not get through, since only pip has the settings of the machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-clients"
GROUPS = ("apps", "light", "triton")
UV = "uv==0.13.9"

PIP = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")


def python_of(group: str) -> Path:
    """The interpreter of a group's environment, made if it is not there as pinned."""
    pins = ROOT / "requirements" / f"clients-{group}.txt"
    folder = FOLDER / group
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    wanted = f"{sys.version}\n{pins.read_text(encoding='utf-8')}"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        venv.create(folder, clear=True, with_pip=False)
        _install(python, pins)
        subprocess.run([*PIP, "--python", str(python), "check"], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _install(python: Path, pins: Path) -> None:
    of_uv = [str(_uv()), "pip", "install", "--quiet", "--python", str(python), "--no-deps", "-r", str(pins)]
    if subprocess.run(of_uv, check=False).returncode != 0:
        print(f"uv could not install {pins.name}; pip tries", flush=True)
        install = ("install", "--no-deps", "--no-compile", "-r", str(pins))
        subprocess.run([*PIP, "--python", str(python), *install], check=True)


def _uv() -> Path:
    """The program of uv, in a folder of its own."""
    folder = FOLDER / UV
    if not (folder / "bin" / "uv").exists():
        subprocess.run([*PIP, "install", "--target", str(folder), UV], check=True)
    return folder / "bin" / "uv"


def main() -> None:
    """Makes all environments and says how long each took."""
    for group in GROUPS:
        started_s = time.monotonic()
        python = python_of(group)
        print(f"{python}: ready after {time.monotonic() - started_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
