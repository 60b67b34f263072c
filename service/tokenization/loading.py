"""Puts a model's `PairEncoder` together from its tokenizer's folder and its manifest.

What would fail for every pair fails here, at start-up, with the file or the manifest's field named.
"""

from __future__ import annotations

from pathlib import Path

from model_store.manifest import Manifest
from service.errors import SettingsError
from service.tokenization.bounds import learn_bound
from service.tokenization.encoder import EncodingRules, PairEncoder
from service.tokenization.fast_tokenizer import FastTokenizer
from service.tokenization.folder import read_tokenizer_folder
from service.tokenization.readout import check_readout
from service.tokenization.rendering import Renderer, StepMarks, UserSpecials
from service.tokenization.samples import make_samples
from service.tokenization.sections import BosPolicy, EosPolicy
from service.tokenization.template_facts import TemplateFacts, learn_template
from service.tokenization.tokenized import tokenize_renderings
from service.tokenization.truncation import TruncationSide

DEFAULT_CHUNK_TOKENS = 512
"""The most tokens of a chunk: the size of a common frame, so that a chunk fits into one."""


def load_encoder(
    tokenizer_folder: Path,
    manifest: Manifest,
    *,
    vocab_size: int,
    max_tokens: int,
    chunk_tokens: int | None = DEFAULT_CHUNK_TOKENS,
) -> PairEncoder:
    """Loads what is needed to encode pairs for one model; takes some seconds for a large vocabulary.

    Args:
        tokenizer_folder: Holds `tokenizer.json`.
        manifest: Says how the model is read.
        vocab_size: Rows of the model's embedding.
        max_tokens: The most tokens a pair may have.
        chunk_tokens: The most tokens a chunk may have; part of the numeric mode, since cuts follow from it.
            None for models that take a pair as a whole (`families.is_packed`).

    Raises:
        SettingsError: If a file or a field is missing or does not fit the others.
    """
    check_readout(manifest.readout, max_tokens)
    template = manifest.template
    folder = read_tokenizer_folder(tokenizer_folder, template.jinja)
    tokenizer = FastTokenizer(folder, more_control_text=template.cut_after)
    rules = _rules(manifest, tokenizer, vocab_size=vocab_size, max_tokens=max_tokens, chunk_tokens=chunk_tokens)
    renderer = Renderer(
        tokenizer,
        tokenizer.control,
        user_specials=UserSpecials(template.user_specials),
        always_disguise=tokenizer.needs_disguise,
        removed_text=tokenizer.bos_text if rules.bos is BosPolicy.STRIP else None,
        max_user_turns=template.max_user_turns,
        steps=StepMarks(template.step_mark, template.step_separator, template.piecewise)
        if template.step_mark
        else None,
    )
    bound = learn_bound(renderer, tokenizer.control.names, tokenizer.normalizers)
    return PairEncoder(renderer, tokenizer, rules, _facts(renderer, tokenizer, template.cut_after), bound)


def _rules(
    manifest: Manifest, tokenizer: FastTokenizer, *, vocab_size: int, max_tokens: int, chunk_tokens: int | None
) -> EncodingRules:
    rules = EncodingRules(
        vocab_size=vocab_size,
        max_tokens=max_tokens,
        chunk_tokens=chunk_tokens,
        bos_text=tokenizer.bos_text,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        bos=BosPolicy(manifest.template.bos),
        eos=EosPolicy(manifest.template.eos),
        truncation_side=TruncationSide(manifest.limits.truncation_side),
        readout=manifest.readout,
    )
    if rules.bos is BosPolicy.DOUBLE and rules.bos_id is None:
        raise SettingsError('template.bos is "double", but the tokenizer has no BOS; allowed then: one, none')
    if rules.eos is EosPolicy.APPEND and rules.eos_id is None:
        raise SettingsError('template.eos is "append", but the tokenizer has no EOS; allowed then: template, none')
    return rules


def _facts(renderer: Renderer, tokenizer: FastTokenizer, cut_after: tuple[str, ...]) -> TemplateFacts:
    return learn_template(
        make_samples(renderer, lambda renderings: tokenize_renderings(tokenizer, renderings)),
        cut_after=cut_after,
        disguise=tokenizer.control.disguise,
        control_ids=tokenizer.control_ids,
        bos_text=tokenizer.bos_text,
        eos_id=tokenizer.eos_id,
    )
