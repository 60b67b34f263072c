"""The command line: `reward-server serve`, and what a person types to score, rank and inspect models.

Deterministic math is set before anything imports torch. Commands import what they need when they run, so that
`--help` is instant. Flags are made from the settings, so that each setting is described once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from service.cli.allocator import bound_arenas
from service.cli.models import models
from service.cli.score import rank, score
from service.cli.settings_flags import settings_flags
from service.errors import RewardServiceError
from service.numeric_mode import let_threads_sleep, set_deterministic_math


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="reward-server")
def cli() -> None:
    """Serves reward models: exact, batched, bit-stable scores for (prompt, response) pairs.

    Shell completion: eval "$(_REWARD_SERVER_COMPLETE=bash_source reward-server)" (zsh_source, fish_source).
    """


@cli.command()
@click.argument("models", nargs=-1)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="A TOML file with settings.")
@settings_flags()
def serve(models: tuple[str, ...], config_file: Path | None, **flags: Any) -> None:
    """Serves MODELS (default: demo) over HTTP.

    Each is a catalogue name, a folder, or a Hugging Face id. Every flag is also an environment variable:
    --max-queue-pairs is REWARD_SERVER_MAX_QUEUE_PAIRS.
    """
    from service.cli.serving import run_server
    from service.settings_loading import load_settings

    sys.exit(run_server(load_settings(os.environ, {**flags, "models": models or None}, config_file)))


for command in (score, rank, models):
    cli.add_command(command)


def main() -> None:
    """Entry point: runs the command line and turns our own errors into one line and exit status 2."""
    set_deterministic_math(os.environ)
    let_threads_sleep(os.environ)
    bound_arenas(os.environ)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cli(prog_name="reward-server")
    except Exception as error:
        if not isinstance(error, _known_errors()):
            raise
        click.echo(f"reward-server: {error}", err=True)
        sys.exit(2)


def _known_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is all a person needs; of other packages only if they were imported."""
    known: list[type[Exception]] = [RewardServiceError]
    for module, name in (("model_store.errors", "ModelStoreError"), ("reward_client", "RewardServerError")):
        error = getattr(sys.modules.get(module), name, None)
        if error is not None:
            known.append(error)
    return tuple(known)
