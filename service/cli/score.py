"""`reward-server score` and `rank`: a file overnight, or a handful of responses now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from service.cli.settings_flags import LOCAL_ENGINE, settings_flags
from service.settings import Settings
from service.settings_loading import load_settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TRUNCATION = click.Choice(["error", "prompt_left", "response_right", "model"])


def _where_options(command: _Command) -> _Command:
    """Options that say who scores: a server at a URL, or a model loaded here."""
    for option in (
        click.option("--url", help="A running server; without it the model is loaded into this process."),
        click.option("--model", help="Which model: of the server, or (default demo) to load here."),
        click.option("--api-key", envvar="REWARD_API_KEY", help="Key of the server at --url. [REWARD_API_KEY]"),
        click.option("--truncation", type=_TRUNCATION, default="error", show_default=True, help="For long pairs."),
        settings_flags(LOCAL_ENGINE),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="IN.jsonl", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", metavar="OUT.jsonl", type=click.Path(dir_okay=False, path_type=Path))
@_where_options
def score(source: Path, output: Path, truncation: str, **where: Any) -> None:
    """Scores every line of IN.jsonl into OUT.jsonl, in the same order.

    A line is a pair: prompt (text or messages) and response, or prompt_ids and response_ids, or rendered; an id comes
    back. A pair that cannot be scored gets its error. A killed run goes on where it was when started again.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from service.jobs.connect import connect
    from service.jobs.score_file import score_file

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    console = Console(stderr=True)

    async def run() -> None:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None, rate="")

            def show(num_done: int, num_pairs: int) -> None:
                speed = bar.tasks[0].speed
                bar.update(task, completed=num_done, total=num_pairs, rate=f"{speed:.1f} pairs/s" if speed else "")

            async with connect(_settings(where), where["url"], where["api_key"], console.print) as client:
                tally = await score_file(
                    client, source, output, model=_served_name(where), truncation=truncation, on_progress=show
                )
        console.print(
            f"{output}: {tally.num_pairs} pairs: {tally.num_scored} scored, {tally.num_failed} with an error, "
            f"{tally.num_resumed} found from an earlier run"
        )

    asyncio.run(run())


@click.command()
@click.argument("prompt")
@click.argument("responses", nargs=-1, required=True)
@_where_options
def rank(prompt: str, responses: tuple[str, ...], truncation: str, **where: Any) -> None:
    """Ranks RESPONSES to PROMPT, best first."""
    from rich.console import Console
    from rich.table import Table

    from service.jobs.connect import connect

    async def run() -> None:
        progress = Console(stderr=True).print
        async with connect(_settings(where), where["url"], where["api_key"], progress) as client:
            reply = await client.rank(prompt, responses, model=_served_name(where), truncation=truncation)
        table = Table("rank", "score", "response", box=None)
        for place in reply.results:
            table.add_row(str(place.rank), f"{place.score:.6g}", responses[place.index])
        Console().print(table)
        for failed in reply.errors:
            click.echo(f"response {failed.index + 1}: {failed.error}", err=True)

    asyncio.run(run())


def _settings(where: dict[str, Any]) -> Settings:
    """Settings of a model loaded here; a key guards a server, not this process."""
    flags = {name: where[name] for name in LOCAL_ENGINE}
    return load_settings(os.environ, {**flags, "models": [where["model"]] if where["model"] else None})


def _served_name(where: dict[str, Any]) -> str | None:
    """The name to ask for: a server's own, or whatever the one model loaded here is called."""
    return where["model"] if where["url"] else None
