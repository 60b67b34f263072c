"""A real browser, driven as a person would: Debian's Chromium through chromedriver's HTTP protocol (W3C WebDriver).

Only the few commands the page tests use; no Selenium, because an HTTP client is all it takes.
"""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which WebDriver puts an element's id, fixed by the W3C recommendation."""

STARTED: Final = "was started successfully on port "

DARK: Final = "--force-dark-mode"
"""Makes pages see `prefers-color-scheme: dark`; it repaints nothing."""

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # CI is root, and Chromium's sandbox refuses root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,1200",
)


class Browser:
    """One window of a browser session."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._path = f"/session/{session}"

    def open(self, address: str) -> None:
        """Opens a page and waits until it is loaded."""
        self._post("url", {"url": address})

    def resize(self, width: int, height: int) -> None:
        """Gives the page a size; a window itself cannot be narrower than 500 pixels."""
        parameters = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._post("goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": parameters})

    def type(self, selector: str, text: str) -> None:
        """Empties the field and types into it, key by key."""
        element = self._find(selector)
        self._post(f"element/{element}/clear", {})
        self._post(f"element/{element}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Clicks in the middle of the element, scrolling to it first."""
        self._post(f"element/{self._find(selector)}/click", {})

    def texts(self, selector: str) -> list[str]:
        """The visible texts of all elements that match, in the page's order."""
        found = self._post("elements", {"using": "css selector", "value": selector})
        return [self._get(f"element/{item[ELEMENT]}/text") for item in found]

    def run(self, script: str) -> Any:
        """Runs JavaScript in the page and returns what it returns."""
        return self._post("execute/sync", {"script": script, "args": []})

    def wait_for(self, selector: str, num_elements: int = 1, timeout_s: float = 60) -> list[str]:
        """Waits until at least so many elements match and returns their texts."""
        end_s = time.monotonic() + timeout_s
        while len(texts := self.texts(selector)) < num_elements:
            assert time.monotonic() < end_s, f"{len(texts)} of {num_elements} elements match {selector!r}: {texts}"
            time.sleep(0.1)
        return texts

    def console_errors(self) -> list[str]:
        """What the page complained about: failed loads, policy violations, exceptions."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self._get("screenshot")))

    def _find(self, selector: str) -> str:
        return str(self._post("element", {"using": "css selector", "value": selector})[ELEMENT])

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        return value_of(self._driver.post(f"{self._path}/{command}", json=body))

    def _get(self, command: str) -> Any:
        return value_of(self._driver.get(f"{self._path}/{command}"))


def value_of(reply: httpx.Response) -> Any:
    """A WebDriver reply's value; an error becomes an assertion with the driver's own words."""
    value = reply.json()["value"]
    assert reply.is_success, f"{value['error']}: {value['message']}"
    return value


@contextmanager
def browser(profile: Path, *more_flags: str) -> Iterator[Browser]:
    """A fresh headless browser with an empty profile; closed at the end, whatever happens."""
    flags = [*FLAGS, f"--user-data-dir={profile}", *more_flags]
    capabilities = {
        "browserName": "chrome",
        "goog:chromeOptions": {"args": flags},
        "goog:loggingPrefs": {"browser": "SEVERE"},
    }
    with _driver() as driver:
        reply = driver.post("/session", json={"capabilities": {"alwaysMatch": capabilities}})
        session = value_of(reply)["sessionId"]
        try:
            yield Browser(driver, session)
        finally:
            driver.delete(f"/session/{session}")


@contextmanager
def _driver() -> Iterator[httpx.Client]:
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            started = next((line for line in process.stdout if STARTED in line), "")
            assert started, "chromedriver ended before it said its port"
            port = int(started.partition(STARTED)[2].rstrip(".\n"))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)
