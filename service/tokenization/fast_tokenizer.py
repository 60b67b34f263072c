"""The adapter to the tokenizers library: the only file here that imports it or transformers.

Reads `tokenizer.json` as its authors wrote it. Not `AutoTokenizer`: transformers 5 rebuilds some tokenizers
from their class and then gives other ids (Llama-2, Yi). Adds no BOS, cuts and pads nothing; policies live
elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import AddedToken, Encoding
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from service.errors import BadConversation, SettingsError
from service.tokenization.escaping import ControlText, control_text
from service.tokenization.folder import TokenizerFolder
from service.tokenization.quick_template import quick_render
from service.tokenization.tokenized import TokenizedText
from service.tokenization.tokenizer_clone import rename_control_tokens
from service.types import Message


class FastTokenizer:
    """Renders with the chat template and tokenizes whole texts; safe to use from several threads.

    Attributes:
        bos_text: The BOS as text, or None where the model has none.
        bos_id: Its id.
        eos_id: The id of the EOS, or None; `eos_text` is its text.
        control_ids: Ids of the control tokens: those that only a template should write.
        control: The control strings and their disguises.
        normalizers: The kinds of text normalisation applied, as `tokenizer.json` names them.
        needs_disguise: Whether a control token matches more spellings than its own text (it is compared after
            normalisation), so that looking for the text alone would miss some.
    """

    def __init__(self, folder: TokenizerFolder, *, more_control_text: Sequence[str] = ()) -> None:
        """Loads both tokenizers.

        Args:
            folder: What to load.
            more_control_text: Texts that only the template may write (the manifest's markers): added tokens
                within them are control tokens even where the folder does not call them special.
        """
        tokenizer = _load(folder)
        self._tokenizer = tokenizer
        self._maybe_template = _compiled(tokenizer)
        self._backend = tokenizer.backend_tokenizer
        _leave_texts_whole(self._backend)
        self.bos_text: str | None = tokenizer.bos_token
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self.eos_text: str | None = tokenizer.eos_token
        tokens = _control_tokens(tokenizer, more_control_text)
        self.control_ids = frozenset(tokens)
        self.needs_disguise = any(token.normalized for token in tokens.values())
        self.control: ControlText = control_text([token.content for token in tokens.values()])
        tokenizer_json = json.loads(self._backend.to_str())
        self.normalizers = _kinds(tokenizer_json["normalizer"])
        self._disguised = Backend.from_str(json.dumps(rename_control_tokens(tokenizer_json, self.control.names)))

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Writes messages out with the chat template.

        Raises:
            BadConversation: If the template refuses them, with its own words.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._write(turns, add_generation_prompt)
        except TemplateError as error:
            words = self.control.show(error.message or type(error).__name__)
            raise BadConversation(f"the model's chat template refuses this conversation: {words}") from None
        return text

    def _write(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> Any:
        if self._maybe_template is None:
            return self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        return self._maybe_template(messages=turns, add_generation_prompt=add_generation_prompt)

    def tokenize(self, texts: Sequence[str], *, disguised: bool = False) -> list[TokenizedText]:
        """Tokenizes each text as a whole, without adding BOS or EOS; other threads run meanwhile.

        Args:
            texts: Valid Unicode.
            disguised: Whether the control tokens are written by their private names (`control.disguise`).
        """
        backend = self._disguised if disguised else self._backend
        # encode_batch even for one text: unlike encode it lets other Python threads run.
        return [_plain(encoding) for encoding in backend.encode_batch(list(texts), add_special_tokens=False)]


def _load(folder: TokenizerFolder) -> Any:
    named = {name: _as_token(token) for name, token in folder.named_tokens.items()}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers is untyped
        tokenizer_file=str(folder.tokenizer_file),
        chat_template=folder.chat_template,
        added_tokens_decoder={token_id: _as_token(token) for token_id, token in folder.added_tokens.items()},
        extra_special_tokens=[_as_token(token) for token in folder.extra_tokens],
        **named,
    )


def _compiled(tokenizer: Any) -> Callable[..., str] | None:
    """What `apply_chat_template` calls in the end: three fifths of its time are spent on what our turns cannot hold.

    The template as transformers compiles it, and the names it gives to templates. None where transformers has no such
    function (it is private) or the template is none: then `apply_chat_template` itself renders, or says what is wrong.
    """
    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)
    if compile_template is None or tokenizer.chat_template is None:
        return None
    try:
        source = tokenizer.get_chat_template()
        template = compile_template(source)
    except (TemplateError, ValueError):
        return None
    return quick_render(template, source, {"tools": None, "documents": None, **tokenizer.special_tokens_map})


def _as_token(token: str | dict[str, Any]) -> str | AddedToken:
    if isinstance(token, str):
        return token
    if not isinstance(token.get("content"), str):
        raise SettingsError(f"the tokenizer's configuration has the special token {token!r}; its content must be text")
    return AddedToken(**{name: value for name, value in token.items() if name != "__type"})


def _leave_texts_whole(backend: Backend) -> None:
    backend.no_truncation()
    backend.no_padding()


def _control_tokens(tokenizer: Any, more_control_text: Sequence[str]) -> dict[int, AddedToken]:
    named = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}

    def is_control(token: AddedToken) -> bool:
        # A bare newline within a marker is text, even where it is an added token (Gemma).
        is_in_marker = bool(token.content.strip()) and any(token.content in text for text in more_control_text)
        return token.special or token.content in named or is_in_marker

    return {token_id: token for token_id, token in tokenizer.added_tokens_decoder.items() if is_control(token)}


def _kinds(normalizer: dict[str, Any] | None) -> tuple[str, ...]:
    if normalizer is None:
        return ()
    if normalizer["type"] == "Sequence":
        return tuple(kind for part in normalizer["normalizers"] for kind in _kinds(part))
    return (str(normalizer["type"]),)


def _plain(encoding: Encoding) -> TokenizedText:
    return TokenizedText(tuple(encoding.ids), encoding.offsets)
