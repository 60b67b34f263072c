"""Runs an unpacked image as a container engine would, with a read-only root and no network, and scores a pair.

Called by build-without-registry.sh inside mount, network and process namespaces of its own. Everything that is run
comes from the image's own configuration: environment, user, entry point, health check. Standard library only.
It ends in one JSON line of what was seen; anything else than what should be seen is an exception.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY_TIMEOUT_S = 120
"""Loading a small checkpoint takes seconds; the rest is for a machine that is busy with other things."""

STOP_TIMEOUT_S = 30

SETPRIV, CHROOT = shutil.which("setpriv") or "/usr/bin/setpriv", shutil.which("chroot") or "/usr/sbin/chroot"
"""Found here, because they run with the image's PATH."""

URL = "http://127.0.0.1:8000"

KEY = "a-key-for-this-run"

PAIR = {"prompt": "How do I boil an egg?", "response": "Six and a half minutes in boiling water."}


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: its root folder and the configuration it was committed with."""

    root: Path
    config: Mapping[str, Any]

    def command(self, argv: Sequence[str], *, user: str | None = None) -> list[str]:
        """The command that runs `argv` inside, as the image's user unless another is named."""
        return [
            *(SETPRIV, "--no-new-privs", CHROOT, f"--userspec={user or self.config['User']}", str(self.root)),
            *("env", f"--chdir={self.config['WorkingDir']}", *argv),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """The image's environment and nothing of this machine's, plus what the caller sets."""
        return dict(line.split("=", 1) for line in self.config["Env"]) | more

    def run(self, argv: Sequence[str], *, user: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a short command inside and returns how it ended."""
        command = self.command(argv, user=user)
        return subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, timeout=60)

    def is_healthy(self) -> bool:
        """Runs the image's own health check."""
        return self.run(self.config["Healthcheck"]["Test"][1:]).returncode == 0


def expect(is_so: bool, words: str) -> None:
    """Raises if what should be so is not."""
    if not is_so:
        raise AssertionError(words)


def mount(*arguments: str | Path) -> None:
    """Mounts, in this namespace only."""
    subprocess.run(["mount", *map(str, arguments)], check=True, timeout=30)


def mount_read_only(root: Path) -> None:
    """Makes the root read-only, with what every engine gives a container: /proc, /dev, a /tmp of its own."""
    mount("--bind", root, root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "-o", "mode=1777,size=256m", "tmpfs", root / "tmp")
    mount("-o", "remount,bind,ro", root)


def wait_until_healthy(image: Image, server: subprocess.Popen[bytes]) -> float:
    """Returns the seconds until the health check passed."""
    started_s = time.monotonic()
    while not image.is_healthy():
        waited_s = time.monotonic() - started_s
        expect(server.poll() is None, f"the server ended with {server.returncode} before it was ready")
        expect(waited_s < READY_TIMEOUT_S, f"not ready after {READY_TIMEOUT_S} s")
        time.sleep(0.5)
    return time.monotonic() - started_s


@contextmanager
def serving(image: Image, arguments: Sequence[str] = (), **environment: str) -> Iterator[float]:
    """The image's entry point, ready to score; yields the seconds that took, and stops it as an engine would."""
    command = image.command([*image.config["Entrypoint"], *(image.config["Cmd"] or ()), *arguments])
    server = subprocess.Popen(command, env=image.environment(**environment))
    try:
        yield wait_until_healthy(image, server)
        server.terminate()
        status = server.wait(STOP_TIMEOUT_S)
        expect(status == 0, f"told to stop, the server ended with {status}")
    finally:
        server.kill()
        server.wait()


def ask(path: str, body: object = None, key: str = "") -> tuple[int, Any]:
    """Sends a request and returns status and body, errors too."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def score(key: str = "") -> float:
    """Scores the one pair; the reply must be a number."""
    status, reply = ask("/v1/score", {"pairs": [PAIR]}, key)
    expect(status == 200 and "score" in reply["results"][0], f"no score but {status}: {reply}")
    return float(reply["results"][0]["score"])


def check_refusals(image: Image) -> None:
    """The root cannot be written to even by root, and the default command refuses to serve the world without a key."""
    written = image.run(["python3", "-c", "open('/opt/a-file', 'w')"], user="0:0")
    expect("Read-only file system" in written.stderr, f"the root file system took a file: {written.stderr}")
    bare = image.run(image.config["Entrypoint"])
    expect(bare.returncode == 2, f"the default command ended with {bare.returncode}: {bare.stderr}")
    expect("--allow-unauthenticated" in bare.stderr, f"the default command does not say what to do: {bare.stderr}")
    expect(not image.is_healthy(), "the health check passes with no server there")


def main(root: Path, inspected: Path, model: Path) -> None:
    """Runs the image three times: without a key, with a key and the baked model, and with a mounted one."""
    image = Image(root, json.loads(inspected.read_text(encoding="utf-8"))["Docker"]["config"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
    mount_read_only(root)
    check_refusals(image)
    with serving(image, REWARD_SERVER_API_KEYS=KEY) as baked_ready_s:
        readyz_status, _ = ask("/readyz")
        keyless_status, _ = ask("/v1/score", {"pairs": [PAIR]})
        baked_score = score(KEY)
    mount("--bind", "-o", "ro", model.parent, root / "models")
    with serving(image, [f"/models/{model.name}", "--allow-unauthenticated"]) as mounted_ready_s:
        mounted_score = score()
    expect((readyz_status, keyless_status) == (200, 401), f"/readyz {readyz_status}, without a key {keyless_status}")
    expect(baked_score == mounted_score, f"one checkpoint, two scores: {baked_score} baked, {mounted_score} mounted")
    seen = {
        "user": image.config["User"],
        "readyz_status": readyz_status,
        "score": baked_score,
        "baked_ready_s": round(baked_ready_s, 1),
        "mounted_ready_s": round(mounted_ready_s, 1),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
