"""The command line: `reward-server serve`, and what a person types to score, rank and inspect models.

Flags of `serve` are made from the settings, so that each setting is described once. Deterministic math is set
before anything imports torch; commands import what they need when they run, so that `--help` is instant.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from service.errors import RewardServiceError
from service.numeric_mode import set_deterministic_math
from service.settings_flags import settings_flags


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reward-server")
def cli() -> None:
    """Serves reward models: exact, batched, bit-stable scores for (prompt, response) pairs."""


@cli.command()
@click.argument("models", nargs=-1)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="A TOML file with settings.")
@settings_flags
def serve(models: tuple[str, ...], config_file: Path | None, **flags: Any) -> None:
    """Serves MODELS (default: demo) over HTTP.

    Each is a catalogue name, a folder, or a Hugging Face id. Every flag is also an environment variable:
    --max-queue-pairs is REWARD_SERVER_MAX_QUEUE_PAIRS.
    """
    from service.serving import run_server
    from service.settings import load_settings

    settings = load_settings(os.environ, {**flags, "models": models or None}, config_file)
    sys.exit(run_server(settings))


def main() -> None:
    """Entry point: runs the command line and turns our own errors into one line and exit status 2."""
    set_deterministic_math(os.environ)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cli(prog_name="reward-server")
    except RewardServiceError as error:
        click.echo(f"reward-server: {error.message}", err=True)
        sys.exit(2)
