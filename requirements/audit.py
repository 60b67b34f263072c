"""Asks a service of advisories about every pin: `python requirements/audit.py PINS...`.

Where none answers within some seconds (a mirror of the package index has no advisories, a machine may have no network)
it says `audit: NOT RUN` and why, and ends with 0, so that `make check` works anywhere; `--required` makes that 1. A
known vulnerability always ends it with 1. pip-audit does the work, from an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"

SERVICES = {"pypi": "https://pypi.org/pypi/pip/24.0/json", "osv": "https://api.osv.dev/v1/vulns/PYSEC-2023-228"}
"""pip-audit's services, each with an address that only it answers: with JSON that has the key `MARKS` names."""

MARKS = {"pypi": "vulnerabilities", "osv": "affected"}

ANSWERS = "answers"

REACH_S = 4.0
"""How long the services have to answer, all together."""

INSTALL_S, AUDIT_S = 120.0, 120.0


class NotRun(Exception):
    """Nothing is known of the pins; the words say why."""


def service_that_answers(services: Mapping[str, str] = SERVICES, timeout_s: float = REACH_S) -> str:
    """The first service that can be asked.

    Raises:
        NotRun: If there is none; names what each did instead.
    """
    seen: dict[str, str] = {}

    def ask(name: str, address: str) -> None:
        try:
            with urllib.request.urlopen(address, timeout=timeout_s) as reply:
                told = json.load(reply)
            seen[name] = ANSWERS if MARKS[name] in told else f"its answer holds no {MARKS[name]}"
        except (OSError, ValueError, TypeError) as error:
            seen[name] = str(error.reason if isinstance(error, urllib.error.URLError) else error)

    ends_at_s = time.monotonic() + timeout_s
    # In threads nobody waits for: looking a name up has no time-out.
    threads = [threading.Thread(target=ask, args=service, daemon=True) for service in services.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends_at_s - time.monotonic()))
    for name in services:
        if seen.get(name) == ANSWERS:
            return name
    complaints = [f"{name}: {seen.get(name, f'no answer within {timeout_s:g} s')}" for name in services]
    raise NotRun("no service of advisories answers; " + "; ".join(complaints))


def installed(folder: Path) -> Path:
    """pip-audit, installed into a virtual environment of its own if it is not there yet.

    Raises:
        NotRun: If it cannot be had.
    """
    program = folder / "bin" / "pip-audit"
    if not program.exists():
        venv.create(folder, with_pip=True)
        _run([folder / "bin" / "pip", "install", "--quiet", PIP_AUDIT], INSTALL_S)
    if not program.exists():
        raise NotRun(f"{PIP_AUDIT} cannot be installed")
    return program


def audit(program: Path, service: str, pins: Sequence[Path]) -> list[dict[str, Any]]:
    """What is known of each pin: pip-audit's `dependencies`.

    Raises:
        NotRun: If pip-audit ended without a report.
    """
    words: list[str | Path] = [program, "--no-deps", "--disable-pip", "--format", "json"]
    words += ["--vulnerability-service", service, "--progress-spinner", "off"]
    ended = _run([*words, *(word for path in pins for word in ("-r", path))], AUDIT_S)
    try:
        dependencies: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        last = ended.stderr.strip().splitlines()[-1:] or [f"status {ended.returncode}"]
        raise NotRun(f"pip-audit gave no report: {last[0]}") from error
    return dependencies


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Lines about vulnerable pins, and lines about pins of which nothing is known."""
    vulnerable = [
        f"{pin['name']} {pin['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version'}"
        for pin in dependencies
        for found in pin.get("vulns", ())
    ]
    return vulnerable, [f"{pin['name']}: {pin['skip_reason']}" for pin in dependencies if "skip_reason" in pin]


def _run(words: Sequence[str | Path], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{Path(words[0]).name} did not end within {timeout_s:g} s") from error


def main(arguments: list[str] | None = None, services: Mapping[str, str] = SERVICES) -> int:
    """Audits; 1 for a vulnerability, and with `--required` for whatever keeps a pin from being known."""
    parser = argparse.ArgumentParser(prog="python requirements/audit.py", description=__doc__)
    parser.add_argument("pins", nargs="+", type=Path)
    parser.add_argument("--required", action="store_true", help="fail if it cannot be run")
    parser.add_argument("--environment", type=Path, default=Path(".venv-audit"), help="where pip-audit lives")
    args = parser.parse_args(arguments)
    try:
        service = service_that_answers(services)
        dependencies = audit(installed(args.environment), service, args.pins)
    except NotRun as reason:
        print(f"audit: NOT RUN ({reason})")
        return int(args.required)
    vulnerable, unknown = verdict(dependencies)
    for line in unknown:
        print(f"audit: NOT KNOWN {line}")
    for line in vulnerable:
        print(f"audit: VULNERABLE {line}")
    num_known = len(dependencies) - len(unknown)
    print(f"audit: {num_known} pins looked up at {service}, {len(vulnerable)} known vulnerabilities")
    return int(bool(vulnerable) or (args.required and bool(unknown)))


if __name__ == "__main__":
    sys.exit(main())
