"""A person's way through the page, in a real browser against a real server."""

import os
from pathlib import Path

import httpx
import pytest

from tests.system.browser import DARK, browser
from tests.system.conftest import serving, skip_without

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PROMPT = "Name a colour of the sky."
RESPONSES = ["Blue, and red in the evening.", "<b>Ask</b> someone else & leave me alone."]


@pytest.fixture(scope="module")
def address(checkpoint):
    skip_without("chromium", "chromedriver")
    with serving(checkpoint) as url:
        yield url


@pytest.fixture(scope="module")
def ranked(address):
    """What the API says of the same texts."""
    body = {"prompt": PROMPT, "responses": RESPONSES}
    return httpx.post(f"{address}/v1/rank", json=body, timeout=60).raise_for_status().json()


def keep(page, name):
    """Leaves a screenshot for a person to look at, where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(Path(folder) / f"{name}.png")


def fill_in(page):
    """Types the prompt and the responses; the page starts with three examples."""
    page.type("#prompt", PROMPT)
    page.click(".response:nth-child(3) .remove")
    for place, text in enumerate(RESPONSES, 1):
        page.type(f"#response-{place}", text)


@pytest.mark.parametrize("flags", [(), (DARK,)], ids=["light", "dark"])
def test_responses_typed_into_the_page_are_ranked_as_the_api_ranks_them(address, ranked, tmp_path, flags):
    theme = "dark" if flags else "light"
    with browser(tmp_path, *flags) as page:
        page.open(address)
        page.wait_for("#model")
        keep(page, f"start-{theme}")
        fill_in(page)
        page.click("#go")
        scores = page.wait_for("#result .score", num_elements=2)
        quotes = page.texts("#result .quote")
        is_dark = page.run("return matchMedia('(prefers-color-scheme: dark)').matches")
        errors = page.console_errors()
        keep(page, f"ranked-{theme}")

    assert [float(score) for score in scores] == [result["score"] for result in ranked["results"]]
    assert quotes == [RESPONSES[result["index"]] for result in ranked["results"]]
    assert is_dark == bool(flags)
    assert errors == []


def test_one_response_gets_a_score_and_its_token_counts(address, ranked, tmp_path):
    expected = {result["index"]: result["score"] for result in ranked["results"]}[0]
    with browser(tmp_path) as page:
        page.open(address)
        fill_in(page)
        page.click(".response:nth-child(2) .remove")
        page.click("#go")
        (score,) = page.wait_for("#result .score")
        (details,) = page.texts("#result .card .hint")
        keep(page, "scored")

    assert float(score) == expected
    assert "prompt tokens" in details


def test_an_error_of_the_server_is_shown_in_its_own_words(address, tmp_path):
    body = {"prompt": " ", "responses": RESPONSES}
    refused = httpx.post(f"{address}/v1/rank", json=body, timeout=60).raise_for_status().json()
    with browser(tmp_path) as page:
        page.open(address)
        fill_in(page)
        page.type("#prompt", " ")
        page.click("#go")
        words = page.wait_for("#result .error", num_elements=2)
        keep(page, "refused")

    errors = [item["error"] for item in refused["errors"]]
    assert words == [f"No score: {error['message']} ({error['code']})" for error in errors]


def test_a_server_with_a_key_asks_for_it_and_takes_it(checkpoint, tmp_path):
    skip_without("chromium", "chromedriver")
    with serving(checkpoint, "--api-key", "open-sesame") as url, browser(tmp_path) as page:
        page.open(url)
        page.wait_for("#key-form:not([hidden])")
        keep(page, "key")
        page.type("#key", "guessed")
        page.click("#key-form button")
        (refusal,) = page.wait_for("#model .error")
        page.type("#key", "open-sesame")
        page.click("#key-form button")
        page.wait_for("#key-form[hidden]")
        page.click("#go")
        scores = page.wait_for("#result .score", num_elements=3)
        page.click("#docs")
        operations = page.wait_for("#operations summary")
        keep(page, "docs")

    assert refusal == "That key is not accepted."
    assert len(scores) == 3
    assert any("POST /v1/score" in operation for operation in operations)


@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_is_wider_than_the_window(address, tmp_path, width):
    with browser(tmp_path) as page:
        page.resize(width, 900)
        page.open(address)
        page.run("document.getElementById('response-1').value = 'long'.repeat(200)")
        page.click("#go")
        page.wait_for("#result .score", num_elements=3)
        overflow = page.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        keep(page, f"width-{width}")

    assert overflow == 0
