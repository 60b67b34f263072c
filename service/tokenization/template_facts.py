"""What a model's template looks like in ids, learnt at load from sample conversations.

A marker's text may have several id sequences (after a letter, after a newline), so all that occur are kept.
Found here once, and used on ids alone ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.errors import SettingsError
from service.tokenization.samples import Sample

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """A template's fixed parts as ids.

    Attributes:
        markers: What opens an assistant turn; chunks are cut after each occurrence.
        headers: The same up to where the response begins; what truncating a prompt keeps.
        closings: What the template writes after a response; and each of `ends` by itself.
        ends: Ids that end a turn: the EOS, and the last control token of the closings.
        writes_bos: Whether the template begins with the BOS text.
    """

    markers: tuple[Ids, ...]
    headers: tuple[Ids, ...]
    closings: tuple[Ids, ...]
    ends: frozenset[int]
    writes_bos: bool

    def has_ended(self, response_ids: Ids) -> bool:
        """Whether ids end as a finished turn does: with an end, or a closing that holds one."""
        return any(
            response_ids[-len(closing) :] == closing and not self.ends.isdisjoint(closing) for closing in self.closings
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """Tokens `[first, stop)` of a sample that make up one occurrence of a marker."""

    sample: Sample
    first: int
    stop: int
    is_whole: bool

    @property
    def ids(self) -> Ids:
        return self.sample.tokens.ids[self.first : self.stop]


def learn_template(
    samples: Sequence[Sample],
    *,
    cut_after: Sequence[str],
    disguise: Callable[[str], str],
    control_ids: frozenset[int],
    bos_text: str | None,
    eos_id: int | None,
) -> TemplateFacts:
    """Reads the template's fixed parts off the samples' ids.

    Args:
        samples: At least one.
        cut_after: The manifest's markers as text; if none, what opens an assistant turn is taken.
        disguise: Gives control strings their private names, for samples that are written so.
        control_ids: The ids of control tokens.
        bos_text: The BOS as text, or None.
        eos_id: The EOS, or None.

    Raises:
        SettingsError: If a marker of the manifest occurs in no sample.
    """
    spans = {
        text: [span for sample in samples for span in _spans(sample, text, disguise)]
        for text in cut_after or _common_opening(samples)
    }
    markers = {ids for text in spans for ids in _marker_ids(spans[text], text, samples[0])}
    closings = {sample.tokens.ids[sample.tokens.token_from(sample.response_end) :] for sample in samples}
    ends = {end for closing in closings for end in _last_control(closing, control_ids)}
    if eos_id is not None:
        ends.add(eos_id)
    return TemplateFacts(
        markers=tuple(sorted(markers)),
        headers=tuple(sorted(_headers(spans.values()))),
        closings=tuple(sorted(closings - {()} | {(end,) for end in ends})),
        ends=frozenset(ends),
        writes_bos=bool(bos_text) and samples[0].rendering.shown.startswith(bos_text or ""),
    )


def _common_opening(samples: Sequence[Sample]) -> tuple[str, ...]:
    openings = {sample.opening for sample in samples}
    return tuple(openings - {""}) if len(openings) == 1 else ()


def _spans(sample: Sample, marker: str, disguise: Callable[[str], str]) -> Iterator[_Span]:
    text, tokens = sample.rendering.text, sample.tokens
    needle = disguise(marker) if sample.rendering.is_disguised else marker
    start = text.find(needle)
    while start >= 0:
        end = start + len(needle)
        first, stop = tokens.token_at(start), tokens.token_at(end)
        # A token that holds the marker's last character and the next one cannot be cut after.
        is_whole = tokens.token_from(end) == stop
        if first < stop:
            yield _Span(sample, first, stop, is_whole)
        start = text.find(needle, end)


def _marker_ids(spans: Sequence[_Span], marker: str, sample: Sample) -> set[Ids]:
    if not spans:
        raise SettingsError(
            f"template.cut_after holds {marker!r}, which the chat template never writes as whole tokens; "
            f"it renders, for one, {sample.rendering.shown!r}"
        )
    # Where whole ones exist, a part of the marker is not cut after: it is the head of each whole one.
    return {span.ids for span in spans if span.is_whole} or {span.ids for span in spans}


def _headers(spans: Iterable[Sequence[_Span]]) -> set[Ids]:
    """From each sample's last marker to where its response begins."""
    last_start: dict[int, tuple[int, Ids]] = {}
    for span in (span for group in spans for span in group):
        tokens = span.sample.tokens
        header = tokens.ids[span.first : tokens.token_at(span.sample.response_at)]
        if header:
            key = id(span.sample)
            last_start[key] = max(last_start.get(key, (-1, ())), (span.first, header))
    return {header for _, header in last_start.values()}


def _last_control(closing: Ids, control_ids: frozenset[int]) -> Iterable[int]:
    return [token for token in closing if token in control_ids][-1:]
