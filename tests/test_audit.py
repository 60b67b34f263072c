"""The audit of the pins: a vulnerability fails, and what could not be asked is said and is no finding."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from requirements import audit

FOUND = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}


class Advisories(BaseHTTPRequestHandler):
    """Answers as each service does, at a path of its own; a mirror has the page but no advisories."""

    REPLIES = {"/pypi": {"info": {}, "vulnerabilities": []}, "/osv": {"affected": []}, "/mirror": {"info": {}}}  # noqa: RUF012

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.server.release.wait(60)
            return
        reply = self.REPLIES.get(self.path)
        self.send_response(404 if reply is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Advisories)
    server.release = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def program(tmp_path: Path, output: str, status: int) -> Path:
    """A pip-audit that says this."""
    path = tmp_path / "pip-audit"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nprint({output!r})\nprint('ERROR: so', file=sys.stderr)\nsys.exit({status})\n"
    )
    path.chmod(0o755)
    return path


def test_the_first_service_that_has_advisories_is_asked(site):
    assert audit.service_that_answers({"pypi": f"{site}/pypi", "osv": f"{site}/osv"}) == "pypi"
    assert audit.service_that_answers({"pypi": f"{site}/mirror", "osv": f"{site}/osv"}) == "osv"


def test_where_none_answers_it_says_what_each_did(site):
    with pytest.raises(audit.NotRun, match=r"pypi: its answer holds no vulnerabilities; osv: Not Found"):
        audit.service_that_answers({"pypi": f"{site}/mirror", "osv": f"{site}/nothing"})


def test_a_service_that_never_answers_is_not_waited_for(site):
    with pytest.raises(audit.NotRun, match="osv: "):
        audit.service_that_answers({"osv": f"{site}/silent"}, timeout_s=0.2)


def test_a_vulnerable_pin_is_named_with_what_mends_it():
    pins = [{"name": "good", "version": "1", "vulns": []}, {"name": "bad", "version": "1.0", "vulns": [FOUND]}]

    assert audit.verdict(pins) == (["bad 1.0: PYSEC-2026-1, mended in 1.1"], [])


def test_a_pin_of_which_nothing_is_known_is_named():
    assert audit.verdict([{"name": "own", "skip_reason": "not on PyPI"}]) == ([], ["own: not on PyPI"])


def test_a_report_is_read_though_a_finding_ends_pip_audit_with_1(tmp_path):
    report = {"dependencies": [{"name": "bad", "version": "1.0", "vulns": [FOUND]}], "fixes": []}

    assert audit.audit(program(tmp_path, json.dumps(report), 1), "pypi", []) == report["dependencies"]


def test_without_a_report_nothing_is_known(tmp_path):
    with pytest.raises(audit.NotRun, match="no report: ERROR: so"):
        audit.audit(program(tmp_path, "", 1), "pypi", [])


@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--required"], 1)])
def test_what_cannot_be_run_is_said_and_fails_only_where_it_is_required(site, capsys, flags, status):
    assert audit.main([*flags, "requirements/serve.txt"], {"osv": f"{site}/nothing"}) == status
    assert capsys.readouterr().out.startswith("audit: NOT RUN (no service of advisories answers; osv: Not Found")


@pytest.mark.parametrize(("vulns", "status"), [([], 0), ([FOUND], 1)])
def test_a_known_vulnerability_fails_and_none_does_not(site, tmp_path, capsys, vulns, status):
    report = {"dependencies": [{"name": "pin", "version": "1.0", "vulns": vulns}]}
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", json.dumps(report), int(bool(vulns)))

    assert audit.main(["--environment", str(tmp_path), "requirements/serve.txt"], {"osv": f"{site}/osv"}) == status
    assert f"1 pins looked up at osv, {len(vulns)} known vulnerabilities" in capsys.readouterr().out
