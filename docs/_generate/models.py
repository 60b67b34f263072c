"""The table of the catalogue, from its entries."""

from __future__ import annotations

from docs._generate.page import Block, table
from model_store import catalogue
from model_store.families import is_packed
from model_store.manifest import Manifest
from model_store.words import describe_readout

COLUMNS = ("name", "backbone", "head", "reads at", "BOS", "longest pair", "score")


def catalogue_table(block: Block) -> str:
    """Every entry that is verified, or every one that is not, by name."""
    wanted = block.arguments == ("verified",)
    manifests = [manifest for manifest in map(catalogue.find, catalogue.names()) if manifest.is_verified == wanted]
    if not wanted:
        return table((*COLUMNS, "what is not sourced"), *((*_row(one), one.notes["unverified"]) for one in manifests))
    return table(COLUMNS, *map(_row, manifests))


def _row(manifest: Manifest) -> tuple[str, ...]:
    backbone = manifest.backbone.family + ("" if is_packed(manifest.backbone.family) else ", plain")
    limits = manifest.limits
    longest = f"{limits.max_tokens or 'config'}" + {"none": ""}.get(
        limits.truncation_side, f", cut {limits.truncation_side}"
    )
    return (
        f"`{manifest.name}`",
        backbone,
        _head(manifest),
        describe_readout(manifest.readout),
        manifest.template.bos,
        longest,
        _score(manifest),
    )


def _head(manifest: Manifest) -> str:
    head = manifest.head
    names = [layer.weight for layer in head.layers] or [head.weight]
    named = ", ".join(f"`{name}`" for name in names)
    count = f", {len(head.objectives)} objectives" if head.objectives else ""
    return f"{head.kind} {named}{count}"


def _score(manifest: Manifest) -> str:
    output = manifest.output
    steps = f", {output.steps} of steps" if output.steps else ""
    return f"{output.kind}{steps}" + (", lower is better" if output.lower_is_better else "")
