"""`reward-server models`: which models are in the catalogue, how each is read, whether it scores as it should."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from service.cli.settings_flags import LOCAL_ENGINE, settings_flags


@click.group()
def models() -> None:
    """Lists, shows and verifies models."""


@models.command("list")
def list_models() -> None:
    """Lists the catalogue."""
    from model_store import catalogue

    for name in catalogue.names():
        manifest = catalogue.find(name)
        state = "verified" if manifest.is_verified else "unverified"
        click.echo(f"{name:24} {state:12} {manifest.title}")


@models.command()
@click.argument("reference")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Folder with an entry's weights.")
@click.option("--toml", "as_toml", is_flag=True, help="The manifest as a file instead of in words.")
def show(reference: str, weights: Path | None, as_toml: bool) -> None:
    """Shows how REFERENCE is read: a catalogue name, a folder (guessed if it has no manifest), or a Hugging Face id."""
    from model_store import catalogue
    from model_store.manifest_toml import render_manifest
    from model_store.sources import resolve
    from model_store.words import describe_adapter, describe_manifest

    adapter = None
    if weights is None and reference in catalogue.names():
        manifest = catalogue.find(reference)
    else:
        files = resolve(reference, weights=weights)
        manifest, adapter = files.manifest, files.adapter
    if as_toml:
        click.echo(render_manifest(manifest))
        return
    for subject, words in describe_manifest(manifest):
        click.echo(f"{subject:14} {words}")
    if adapter is not None:
        click.echo(f"{'adapter':14} {describe_adapter(adapter)}")


@models.command()
@click.argument("reference")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Folder with an entry's weights.")
@click.option("--tokenizer", type=click.Path(path_type=Path, exists=True), help="Folder with the tokenizer.")
def add(reference: str, folder: Path, weights: Path | None, tokenizer: Path | None) -> None:
    """Puts everything that serving REFERENCE needs into FOLDER: from the hub with a progress bar, or from this disk.

    The tensors are checked, pickled weights become safetensors, and every file's sha256 is pinned. `reward-server serve
    FOLDER` then needs neither hub nor catalogue.
    """
    from model_store.add import add_model
    from model_store.sources import resolve

    files = resolve(reference, weights=weights, tokenizer=tokenizer)
    manifest = add_model(files, folder, progress=lambda words: click.echo(f"  {words}", err=True))
    for guess in manifest.guesses:
        click.echo(f"guessed {guess}")
    click.echo(f"{manifest.name} is in {folder}: reward-server serve {folder}")


@models.command()
@click.argument("reference", default="demo")
@settings_flags(LOCAL_ENGINE)
def verify(reference: str, **flags: Any) -> None:
    """Loads REFERENCE, checks its files and scores its golden pairs; exit status 1 if anything differs."""
    from service.model_runtime import load_served_model
    from service.observability.observers import RecordingObserver
    from service.scoring.parity import DETAILS
    from service.settings_loading import load_settings

    settings = load_settings(os.environ, {**flags, "models": [reference]})

    async def run() -> bool:
        model = await load_served_model(
            reference, settings, RecordingObserver(), lambda words: click.echo(f"  {words}")
        )
        checks = await model.verify()
        for check in checks:
            given = check.error if check.actual is None else repr(check.actual)
            verdict = "ok" if check.is_ok else "DIFFERS"
            click.echo(f"{verdict:8} {check.name}: expected {check.expected!r} within {check.tolerance:g}, got {given}")
        for name in DETAILS:
            if name in model.card.details:
                click.echo(f"quantized: {name} {model.card.details[name]}")
        if not checks:
            click.echo(f"no golden pair is recorded for {model.card.engine.numeric_mode['dtype']}")
        await model.close()
        return all(check.is_ok for check in checks)

    sys.exit(0 if asyncio.run(run()) else 1)
