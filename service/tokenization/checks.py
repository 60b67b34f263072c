"""What a pair must be before it is worth rendering: valid text, a sensible list of turns, ids that exist.

Pure functions that raise the errors a caller sees; they know no template and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import BadConversation, BadText, BadToken, EmptyPrompt
from service.types import Message, TokenIds

ROLES = ("system", "user", "assistant")
"""The roles taken. Closed, because many templates write the role as it comes: a role holding a control string
would be a turn of the caller's own making."""


def check_prompt(prompt: Sequence[Message], max_user_turns: int | None) -> None:
    """Refuses a prompt that no template should see.

    Raises:
        BadConversation: If it is empty, has an unknown role, ends in an assistant turn or has too many
            user turns.
        BadText: If a message holds a lone surrogate.
        EmptyPrompt: If there is no text to answer.
    """
    if not prompt:
        raise BadConversation("the message list is empty; give at least one user message")
    for index, message in enumerate(prompt):
        if message.role not in ROLES:
            raise BadConversation(f"message {index} has the role {message.role!r}; allowed are {', '.join(ROLES)}")
        check_text(message.content, f"message {index}")
    if prompt[-1].role == "assistant":
        raise BadConversation("the messages end in an assistant turn; give that turn as the response")
    _check_user_turns(prompt, max_user_turns)


def _check_user_turns(prompt: Sequence[Message], max_user_turns: int | None) -> None:
    user_texts = [message.content for message in prompt if message.role == "user"]
    if max_user_turns is not None and len(user_texts) > max_user_turns:
        raise BadConversation(f"the prompt has {len(user_texts)} user turns, this model takes at most {max_user_turns}")
    if not "".join(user_texts or [message.content for message in prompt]).strip():
        raise EmptyPrompt("the prompt holds no text besides white space; give what the response answers")


def check_text(text: str, what: str) -> None:
    """Refuses text that has no UTF-8 form.

    Raises:
        BadText: Naming `what` holds the lone surrogate, and where.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadText(
            f"{what} holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}; "
            "text must be valid Unicode"
        ) from None


def check_given_ids(pair: TokenIds, vocab_size: int, *, says_where: bool = False) -> None:
    """Refuses token ids that the model does not have.

    Args:
        pair: The ids.
        vocab_size: How many ids the model has.
        says_where: Whether the ids must say where the response begins. A list that came as one does not: its last
            id alone stands for the response, where that changes no score.

    Raises:
        EmptyPrompt: If there are no prompt ids.
        BadConversation: If the ids do not say where the response begins, and must.
        BadToken: Naming the first id outside `[0, vocab_size)` and its position in its list.
    """
    if not pair.prompt_ids:
        raise EmptyPrompt("prompt_ids is empty; give at least one id")
    check_ids(pair.prompt_ids, vocab_size, "prompt_ids")
    check_ids(pair.response_ids, vocab_size, "response_ids")
    if says_where and len(pair.response_ids) < 2:
        raise BadConversation(
            "this model reads the steps of the response alone, and the ids do not say where it begins; "
            "allowed: messages, or prompt_ids and response_ids of two and more"
        )


def check_ids(ids: Sequence[int], vocab_size: int, what: str) -> None:
    """Refuses ids outside `[0, vocab_size)`.

    Raises:
        BadToken: Naming the first of them and its position in `what`.
    """
    if not ids or (min(ids) >= 0 and max(ids) < vocab_size):
        return
    position, token = next((p, t) for p, t in enumerate(ids) if not 0 <= t < vocab_size)
    raise BadToken(f"{what}[{position}] is {token}; this model's ids are 0 to {vocab_size - 1}")
