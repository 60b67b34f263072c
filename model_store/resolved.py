"""A manifest with what it leaves to config.json filled in, and checked against what it expects there.

Standard library only; the loader calls it with the config it has read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from model_store.errors import UnsupportedModel
from model_store.manifest import Manifest, Readout, ReadoutKind

_LAST_WITHOUT_ID = (ReadoutKind.RIGHTMOST_NOT_ID, ReadoutKind.BEFORE_FIRST_ID)


def resolve_manifest(manifest: Manifest, config: Mapping[str, Any]) -> Manifest:
    """Fills in the readout's token id from config.json, where the manifest says that it stands there.

    Raises:
        UnsupportedModel: If config.json says something else than `backbone.expects`, or has no id that is needed.
    """
    for key, text in manifest.backbone.expects.items():
        if config.get(key) != json.loads(text):
            raise UnsupportedModel(
                f"config.json: {key} is {json.dumps(config.get(key))}; manifest {manifest.name!r} expects {text}"
            )
    return replace(manifest, readout=_resolved(manifest.readout, manifest.name, config))


def _resolved(readout: Readout, name: str, config: Mapping[str, Any]) -> Readout:
    key = readout.token_key
    if key is None:
        return readout
    token_id = config.get(key)
    if isinstance(token_id, int) and token_id >= 0:
        return replace(readout, token_id=token_id, token_key=None)
    if token_id in (None, -1) and readout.kind in _LAST_WITHOUT_ID:
        # Without a pad id nothing is padding, and transformers reads the last token.
        return replace(readout, kind=ReadoutKind.LAST_TOKEN, token_key=None)
    raise UnsupportedModel(
        f"config.json: {key} is {token_id!r}; manifest {name!r} reads at that token and needs its id"
    )
