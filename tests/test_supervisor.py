"""The rule for restarts, and a parent with workers that are small functions: real forks, no server."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from service.cli.supervisor import RestartPolicy

ROOT = Path(__file__).parents[1]


def test_waits_double_with_each_early_death_and_end_in_giving_up():
    policy = RestartPolicy(first_wait_s=1, max_wait_s=3, max_early_deaths=5)

    assert [policy.wait_after(1, was_ready=True) for _ in range(5)] == [1, 2, 3, 3, None]


def test_a_worker_that_lasted_starts_the_count_anew():
    policy = RestartPolicy(first_wait_s=1, lasting_s=60, max_early_deaths=3)
    policy.wait_after(1, was_ready=True)

    assert policy.wait_after(60, was_ready=True) == 1
    assert policy.num_early_deaths == 0


def test_a_worker_that_was_never_ready_did_not_last_however_long_it_loaded():
    policy = RestartPolicy(max_early_deaths=2)

    assert [policy.wait_after(1000, was_ready=False) for _ in range(2)] == [0.5, None]


def run_parent(worker: str, tmp_path: Path, *, told: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a parent whose worker's body is `worker`; it may use `starts` (this one's number) and `tell_ready`."""
    script = f"""
        import os, signal, socket, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from service.cli.supervisor import RestartPolicy, Supervisor

        def worker(lifeline, is_restart):
            tell_ready = lifeline.tell_ready
            counter = Path({str(tmp_path / "starts")!r})
            counter.write_text(counter.read_text() + "x" if counter.exists() else "x")
            starts = len(counter.read_text())
            print("start", starts, flush=True)
{textwrap.indent(textwrap.dedent(worker), " " * 12)}

        listener = socket.create_server(("127.0.0.1", 0))
        sys.exit(Supervisor(worker, listener, RestartPolicy(first_wait_s=0.01, max_early_deaths=4)).run())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            if told is not None:
                assert process.stdout is not None
                process.stdout.readline()
                process.send_signal(told)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def num_starts(tmp_path: Path) -> int:
    return len((tmp_path / "starts").read_text())


@pytest.mark.parametrize(
    ("death", "words"),
    [("return 3", "status 3"), ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"), ("raise OSError", "status 3")],
    ids=["lost engine", "killed", "raised"],
)
def test_a_worker_that_dies_is_started_again(tmp_path, death, words):
    ended = run_parent(f"if starts == 3:\n    return 0\n{death}", tmp_path)

    assert (ended.returncode, num_starts(tmp_path)) == (0, 3)
    assert ended.stderr.count(words) == 2


def test_a_worker_that_keeps_dying_is_given_up(tmp_path):
    ended = run_parent("tell_ready()\nreturn 3", tmp_path)

    assert (ended.returncode, num_starts(tmp_path)) == (1, 4)
    assert "giving up" in ended.stderr


@pytest.mark.parametrize("status", [1, 2])
def test_a_mistake_at_start_up_is_not_repeated(tmp_path, status):
    ended = run_parent(f"return {status}", tmp_path)

    assert (ended.returncode, num_starts(tmp_path)) == (status, 1)


def test_a_worker_that_was_ready_and_ends_with_1_is_started_again(tmp_path):
    ended = run_parent("tell_ready()\nreturn 1 if starts == 1 else 0", tmp_path)

    assert (ended.returncode, num_starts(tmp_path)) == (0, 2)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_told_parent_passes_it_on_and_ends_as_its_worker_does(tmp_path, told):
    body = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\nsignal.sigwait({signal.SIGTERM})\nreturn 0"
    ended = run_parent(body, tmp_path, told=told)

    assert (ended.returncode, num_starts(tmp_path)) == (0, 1)


def test_a_parent_that_is_told_while_its_worker_dies_starts_no_other(tmp_path):
    body = "if starts == 1:\n    os.kill(os.getppid(), signal.SIGTERM)\n    os.kill(os.getppid(), signal.SIGINT)\n"

    assert run_parent(body + "os.kill(os.getpid(), signal.SIGKILL)", tmp_path).returncode == 0
    assert num_starts(tmp_path) == 1


def test_a_parent_that_is_told_by_its_worker_ends_it(tmp_path):
    ended = run_parent("os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)", tmp_path)

    assert ended.returncode == 0


def test_the_parent_imports_nothing_heavy():
    heavy = "{'torch', 'fastapi', 'uvicorn', 'transformers'}"
    script = f"import sys; import service.cli.serving; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert out.strip() == "set()"


def test_a_connection_made_while_no_worker_lives_is_answered_by_the_next(tmp_path):
    script = f"""
        import os, signal, socket, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from service.cli.supervisor import RestartPolicy, Supervisor

        listener = socket.create_server(("127.0.0.1", 0))
        marker = Path({str(tmp_path / "marker")!r})

        def worker(lifeline, is_restart):
            assert is_restart == marker.exists()
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            connection, _ = listener.accept()
            connection.sendall(b"hello")
            return 0

        print(listener.getsockname()[1], flush=True)
        sys.exit(Supervisor(worker, listener, RestartPolicy(first_wait_s=1.0)).run())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    while not (tmp_path / "marker").exists():
        os.sched_yield()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        assert connection.recv(5) == b"hello"
    process.communicate(timeout=30)

    assert process.returncode == 0
