"""What can go wrong between a model's name and its loaded weights, as one small tree.

    ModelStoreError
    ├── ManifestError       a manifest says something that is not allowed, or too little
    ├── UnknownModelName    no catalogue entry, folder or repository answers to this name
    ├── SourceError         the files of a model cannot be had
    ├── IntegrityError      a file on disk is not the pinned one
    ├── UnsupportedModel    the config asks for something the packed attention does not honour
    └── WeightsError        the weight files cannot be read
        └── WeightsMismatch the tensors are not exactly those the model needs

All are start-up errors. Messages say where, what was given and what is allowed. This room does not know the
service's errors: it also runs on bare GPU machines and in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

MAX_LISTED_NAMES = 20
"""How many tensor names of one kind a message spells out; all of them are attributes of the error."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class ModelStoreError(Exception):
    """Base of all errors of this room."""


class ManifestError(ModelStoreError):
    """A manifest has an unknown key, a wrong type or value, a missing key, or contradicts itself."""


class UnknownModelName(ModelStoreError):
    """Nothing answers to the name that was asked for."""


class SourceError(ModelStoreError):
    """A model's files are not where they should be, or cannot be downloaded."""


class IntegrityError(ModelStoreError):
    """A file's sha256 is not the one its manifest pins."""


class UnsupportedModel(ModelStoreError):
    """A model's config holds a field that would be ignored, and ignoring it would change scores."""


class WeightsError(ModelStoreError):
    """A weight file is missing, damaged, ambiguous, or not plain tensors."""


class WeightsMismatch(WeightsError):
    """The files' tensors are not exactly the needed ones.

    Each attribute maps a tensor's name in the files to what is known of it, in words.

    Attributes:
        missing: Needed and in no file.
        left_over: In a file, neither needed nor listed in the manifest as ignored.
        unfit: Needed and in a file, but of another shape, not floating point, or stored twice unequally.
    """

    def __init__(
        self,
        where: str,
        *,
        missing: Mapping[str, str] = NOTHING,
        left_over: Mapping[str, str] = NOTHING,
        unfit: Mapping[str, str] = NOTHING,
    ) -> None:
        self.missing = dict(missing)
        self.left_over = dict(left_over)
        self.unfit = dict(unfit)
        kinds = (
            ("missing from the files", self.missing),
            ("left over in the files (the manifest's backbone.ignored lists known ones)", self.left_over),
            ("unfit", self.unfit),
        )
        lines = [f"{len(tensors)} {kind}: {_listed(tensors)}" for kind, tensors in kinds if tensors]
        super().__init__("\n  ".join([f"{where}: the tensors do not fit the model", *lines]))


def _listed(tensors: Mapping[str, str]) -> str:
    shown = [f"{name} ({words})" for name, words in islice(tensors.items(), MAX_LISTED_NAMES)]
    num_hidden = len(tensors) - len(shown)
    return ", ".join(shown) + (f", and {num_hidden} more" if num_hidden else "")
