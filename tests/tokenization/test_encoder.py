"""The encoder: one conversation has one encoding however it comes, and each bad pair its own error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_store.manifest import Backbone, Manifest, Readout, ReadoutKind
from service.errors import BadConversation, BadText, BadToken, EmptyPrompt, InvalidInput, TooLong
from service.tokenization.encoder import PairEncoder
from service.tokenization.loading import load_encoder
from service.types import Conversation, EncodedPair, Message, PairInput, Probe, RenderedText, TokenIds, Truncation
from tests.tokenization import tiny_tokenizers as tiny

CHAT = Conversation(
    (Message("user", "What is a tide?"), Message("assistant", "The rise."), Message("user", "Why?")), "The sea."
)


def core(pair: EncodedPair) -> tuple[object, ...]:
    return pair.ids, pair.cuts, pair.reads, pair.prompt_tokens, pair.response_tokens, pair.truncated_tokens


def num_bos(ids: tuple[int, ...], bos_id: int) -> int:
    return next((index for index, token in enumerate(ids) if token != bos_id), len(ids))


class TestOneConversationOneEncoding:
    @pytest.mark.parametrize("pair", [tiny.say("What is a tide?"), CHAT], ids=["one turn", "two turns"])
    def test_messages_rendered_text_and_ids_encode_alike(self, any_folder: Path, pair: Conversation) -> None:
        encoder = tiny.encoder(any_folder, cut_after=_markers(any_folder), chunk_tokens=7)
        encoded = encoder.encode(pair)
        assert encoded.rendered is not None

        as_text = encoder.encode(RenderedText(encoded.rendered))
        as_ids = encoder.encode(tiny.as_ids(encoded.ids, encoded.prompt_tokens))

        assert as_text == replace(encoded, rendered=as_text.rendered)
        assert as_ids == replace(encoded, rendered=None, ended=True)

    def test_the_whole_conversation_is_tokenized_at_once(self, any_folder: Path) -> None:
        encoder = tiny.encoder(any_folder, bos="none", user_specials="parse")
        encoded = encoder.encode(CHAT)
        expected = tiny.raw_ids(any_folder, encoded.rendered or "")

        assert encoded.ids == (expected[1:] if any_folder.name == "llama2" else expected)

    def test_a_leading_bos_in_rendered_text_changes_nothing(self, llama2: Path, chatml: Path) -> None:
        for folder, bos_text in ((llama2, "<s>"), (chatml, "<|bos|>")):
            encoder = tiny.encoder(folder)
            text = (encoder.encode(CHAT).rendered or "").removeprefix(bos_text)
            bare, one, two = (encoder.encode(RenderedText(bos_text * number + text)) for number in (0, 1, 2))

            assert bare == one == two
            assert core(bare)[0] == core(encoder.encode(CHAT))[0]

    def test_a_pair_in_a_call_with_others_encodes_as_it_does_alone(self, any_folder: Path) -> None:
        encoder = tiny.encoder(any_folder)
        pairs: list[PairInput] = [tiny.say("Hello <s> <|im_end|>", f"Hi {number}") for number in range(3)]
        pairs += [CHAT, RenderedText("Hello"), TokenIds((5, 6), (7,)), tiny.say("Hello", "<|im_start|>"), CHAT]

        assert encoder.encode_many(pairs) == [encoder.encode(pair) for pair in pairs]

    def test_counts_add_up_and_bos_belongs_to_the_prompt(self, llama2: Path) -> None:
        encoded = tiny.encoder(llama2).encode(tiny.say("Hello there?", "Hi, I am well."))

        assert encoded.prompt_tokens + encoded.response_tokens == len(encoded.ids)
        assert _text(llama2, encoded.ids[: encoded.prompt_tokens]).endswith("[/INST]")
        assert _text(llama2, encoded.ids[encoded.prompt_tokens :]).strip() == "Hi, I am well. </s>"

    def test_a_response_that_the_template_moves_is_found_where_it_stands(self, chatml: Path) -> None:
        """A template whose generation prompt is not what stands before a finished turn."""
        jinja = (
            "{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:<|im_start|>{% endif %}"
        )
        encoded = tiny.encoder(chatml, jinja=jinja).encode(tiny.say("Hello", "Hi there"))

        assert _text(chatml, encoded.ids[encoded.prompt_tokens :]) == "Hi there<|im_end|>\n"

    def test_text_has_no_say_in_whether_it_ended(self, chatml: Path) -> None:
        encoder = tiny.encoder(chatml)

        assert encoder.encode(CHAT).ended is None
        assert encoder.encode(RenderedText("Hello")).ended is None

    def test_rendered_text_that_shows_no_response_counts_as_prompt(self, llama2: Path) -> None:
        encoded = tiny.encoder(llama2).encode(RenderedText("Hello there"))

        assert (encoded.prompt_tokens, encoded.response_tokens) == (len(encoded.ids), 0)

    def test_an_empty_response_is_encoded(self, any_folder: Path) -> None:
        encoded = tiny.encoder(any_folder).encode(tiny.say("Hello", ""))

        assert encoded.ids
        assert encoded.prompt_tokens + encoded.response_tokens == len(encoded.ids)


class TestBos:
    @pytest.mark.parametrize(("policy", "number"), [("one", 1), ("none", 0), ("double", 2), ("strip", 1)])
    def test_as_many_bos_stand_in_front_as_the_policy_says(
        self, llama2: Path, chatml: Path, policy: str, number: int
    ) -> None:
        for folder, bos_text in ((llama2, "<s>"), (chatml, "<|bos|>")):
            bos_id = tiny.id_of(folder, bos_text)
            encoder = tiny.encoder(folder, bos=policy)
            text = encoder.encode(CHAT).rendered or ""

            for pair in (CHAT, tiny.say("Hello"), RenderedText(text), RenderedText(bos_text + text)):
                assert num_bos(encoder.encode(pair).ids, bos_id) == number

    def test_one_keeps_the_bos_that_the_template_writes_between_turns_and_strip_does_not(self, llama2: Path) -> None:
        bos_id = tiny.id_of(llama2, "<s>")

        assert tiny.encoder(llama2, bos="one").encode(CHAT).ids.count(bos_id) == 2
        assert tiny.encoder(llama2, bos="strip").encode(CHAT).ids.count(bos_id) == 1

    @pytest.mark.parametrize("policy", ["one", "none", "strip"])
    def test_a_tokenizer_without_bos_gets_none(self, qwen: Path, policy: str) -> None:
        encoded = tiny.encoder(qwen, bos=policy).encode(CHAT)

        assert encoded.ids == tiny.raw_ids(qwen, encoded.rendered or "")

    def test_ids_are_taken_verbatim_whatever_the_policies(self, llama2: Path) -> None:
        encoder = tiny.encoder(llama2, bos="double", eos="append")

        assert encoder.encode(TokenIds((9, 8), (7,))).ids == (9, 8, 7)


class TestEos:
    @pytest.mark.parametrize(("policy", "number"), [("template", 1), ("append", 1), ("none", 0)])
    def test_a_template_that_closes_with_eos_has_at_most_one(self, llama2: Path, policy: str, number: int) -> None:
        encoded = tiny.encoder(llama2, eos=policy).encode(tiny.say("Hello"))

        assert encoded.ids.count(2) == number

    def test_append_adds_eos_where_the_template_ends_in_something_else(self, chatml: Path) -> None:
        eos_id = tiny.id_of(chatml, "<|im_end|>")
        plain = tiny.encoder(chatml).encode(CHAT)
        appended = tiny.encoder(chatml, eos="append").encode(CHAT)

        assert appended.ids == (*plain.ids, eos_id)
        assert appended.response_tokens == plain.response_tokens + 1


class TestEnded:
    def test_ids_that_end_with_eos_or_the_templates_closing_have_ended(self, chatml: Path) -> None:
        encoder = tiny.encoder(chatml)
        eos_id = tiny.id_of(chatml, "<|im_end|>")
        newline_id = tiny.id_of(chatml, "Ċ")

        def ended(*response_ids: int) -> bool | None:
            return encoder.encode(TokenIds((5, 6, eos_id), response_ids)).ended

        assert ended(7, eos_id) is True
        assert ended(7, eos_id, newline_id) is True
        assert ended(7, newline_id) is False
        assert ended(eos_id, 7) is False
        assert ended() is False

    def test_the_templates_end_of_turn_counts_beside_eos(self, chatml: Path, tmp_path: Path) -> None:
        folder = tiny.write_chatml(tmp_path, eos_token="<pad>")
        encoder = tiny.encoder(folder)

        assert encoder.encode(TokenIds((5,), (7, tiny.id_of(folder, "<pad>")))).ended is True
        assert encoder.encode(TokenIds((5,), (7, tiny.id_of(folder, "<|im_end|>")))).ended is True


class TestCuts:
    def test_a_chunk_starts_after_each_assistant_header(self, any_folder: Path) -> None:
        encoded = tiny.encoder(any_folder, cut_after=_markers(any_folder)).encode(CHAT)
        opened = [_text(any_folder, encoded.ids[:cut]) for cut in encoded.cuts[1:]]

        assert len(opened) == 2
        assert all(text.endswith(("[/INST]", "assistant\n")) for text in opened)
        assert encoded.cuts[-1] == encoded.prompt_tokens

    def test_what_opens_a_turn_is_found_without_a_manifest_where_the_template_shows_it(self, chatml: Path) -> None:
        named = tiny.encoder(chatml, cut_after=("<|im_start|>assistant\n",))

        assert tiny.encoder(chatml).facts == named.facts

    def test_responses_to_one_prompt_share_its_chunks(self, any_folder: Path) -> None:
        encoder = tiny.encoder(any_folder, cut_after=_markers(any_folder), chunk_tokens=5)
        first, second = (encoder.encode(tiny.say("What is a tide?", text)) for text in ("Yes", "The rise of the sea."))

        shared = first.prompt_tokens
        assert first.ids[:shared] == second.ids[:shared]
        assert shared in first.cuts
        assert [cut for cut in first.cuts if cut <= shared] == [cut for cut in second.cuts if cut <= shared]

    def test_cuts_of_a_truncated_pair_are_those_of_its_ids(self, chatml: Path) -> None:
        encoder = tiny.encoder(chatml, max_tokens=40, chunk_tokens=5)
        truncated = encoder.encode(tiny.say("What is a tide? " * 20), Truncation.PROMPT_LEFT)

        assert encoder.encode(TokenIds(truncated.ids[:3], truncated.ids[3:])).cuts == truncated.cuts


class TestTruncation:
    LONG = tiny.say("The sea. " * 20, "Short words. " * 20)

    @pytest.fixture
    def whole(self, chatml: Path) -> EncodedPair:
        return tiny.encoder(chatml).encode(self.LONG)

    def test_prompt_left_keeps_bos_header_and_response(self, chatml: Path, whole: EncodedPair) -> None:
        encoder = tiny.encoder(chatml, max_tokens=len(whole.ids) - 9)
        kept = encoder.encode(self.LONG, Truncation.PROMPT_LEFT)

        assert kept.ids == (whole.ids[0], *whole.ids[10:])
        assert (kept.prompt_tokens, kept.response_tokens) == (whole.prompt_tokens - 9, whole.response_tokens)
        assert kept.truncated_tokens == 9

    def test_prompt_left_stops_before_the_assistant_header(self, chatml: Path, whole: EncodedPair) -> None:
        header = tiny.encoder(chatml).facts.headers[0]
        num_kept = 1 + len(header) + whole.response_tokens
        kept = tiny.encoder(chatml, max_tokens=num_kept).encode(self.LONG, Truncation.PROMPT_LEFT)

        assert kept.ids == (whole.ids[0], *header, *whole.ids[whole.prompt_tokens :])
        with pytest.raises(TooLong, match="BOS, assistant header and response alone do not fit"):
            tiny.encoder(chatml, max_tokens=num_kept - 1).encode(self.LONG, Truncation.PROMPT_LEFT)

    def test_response_right_keeps_the_closing_of_the_turn(self, chatml: Path, whole: EncodedPair) -> None:
        kept = tiny.encoder(chatml, max_tokens=len(whole.ids) - 9).encode(self.LONG, Truncation.RESPONSE_RIGHT)

        assert kept.ids == whole.ids[:-11] + whole.ids[-2:]
        assert kept.response_tokens == whole.response_tokens - 9

    def test_rendered_text_is_truncated_as_the_conversation_is(self, chatml: Path, whole: EncodedPair) -> None:
        encoder = tiny.encoder(chatml, max_tokens=len(whole.ids) - 9)
        text = RenderedText(whole.rendered or "")

        for policy in (Truncation.PROMPT_LEFT, Truncation.RESPONSE_RIGHT):
            assert core(encoder.encode(text, policy)) == core(encoder.encode(self.LONG, policy))

    def test_given_ids_are_cut_plainly_on_the_right_and_have_not_ended(self, chatml: Path, whole: EncodedPair) -> None:
        encoder = tiny.encoder(chatml, max_tokens=len(whole.ids) - 9)
        given = tiny.as_ids(whole.ids, whole.prompt_tokens)
        kept = encoder.encode(given, Truncation.RESPONSE_RIGHT)

        assert (kept.ids, kept.ended) == (whole.ids[:-9], False)
        assert encoder.encode(given, Truncation.PROMPT_LEFT).ended is True

    def test_the_models_own_side_keeps_one_bos(self, llama2: Path) -> None:
        encoder = tiny.encoder(llama2, bos="double", max_tokens=20, truncation_side="left")
        whole = tiny.encoder(llama2, bos="double").encode(self.LONG)

        assert encoder.encode(self.LONG, Truncation.MODEL).ids == (1, *whole.ids[-19:])

    def test_nothing_is_cut_unless_asked(self, chatml: Path, whole: EncodedPair) -> None:
        with pytest.raises(TooLong, match=f"the pair has {len(whole.ids)} tokens"):
            tiny.encoder(chatml, max_tokens=len(whole.ids) - 1).encode(self.LONG)

        assert tiny.encoder(chatml, max_tokens=len(whole.ids)).encode(self.LONG) == whole


class TestReads:
    def test_the_head_reads_the_remaining_ids(self, chatml: Path) -> None:
        slot = Readout(ReadoutKind.FIXED_SLOT, token_id=0, slot=40)
        encoder = tiny.encoder(chatml, max_tokens=40, readout=slot)
        short, full = tiny.say("Hello"), tiny.say("The sea. " * 30)

        encoded = encoder.encode(short)
        assert (encoded.reads, encoded.probe) == ((len(encoded.ids),), Probe(token_id=0, position=39))
        encoded = encoder.encode(full, Truncation.PROMPT_LEFT)
        assert (encoded.reads, encoded.probe) == ((39,), None)


USER = Message("user", "Hello")


class TestErrors:
    @pytest.mark.parametrize(
        ("pair", "error", "message"),
        [
            (tiny.say(""), EmptyPrompt, "holds no text"),
            (tiny.say(" \n\t"), EmptyPrompt, "holds no text"),
            (Conversation((Message("system", "Be brief."), Message("user", " ")), "Hi"), EmptyPrompt, "holds no text"),
            (Conversation((Message("system", " "),), "Hi"), EmptyPrompt, "holds no text"),
            (RenderedText(""), EmptyPrompt, "holds nothing"),
            (RenderedText("<s> \n"), EmptyPrompt, "holds nothing"),
            (TokenIds((), (5,)), EmptyPrompt, "prompt_ids is empty"),
            (Conversation((), "Hi"), BadConversation, "the message list is empty"),
            (Conversation((USER, Message("assistant", "Hi")), "Hi"), BadConversation, "end in an assistant turn"),
            (Conversation((Message("tool", "Hello"),), "Hi"), BadConversation, "role 'tool'; allowed are system, user"),
            (Conversation((USER, USER), "Hi"), BadConversation, "Roles must alternate user/assistant"),
            (tiny.say("a\ud800b"), BadText, "message 0 holds the lone surrogate U+D800 at character 1"),
            (tiny.say("Hello", "é\udfff"), BadText, "the response holds the lone surrogate U+DFFF at character 1"),
            (RenderedText("\udc00"), BadText, "the text holds the lone surrogate U+DC00 at character 0"),
            (TokenIds((5, 100000), (5,)), BadToken, r"prompt_ids\[1\] is 100000; this model's ids are 0 to"),
            (TokenIds((5,), (5, 6, -1)), BadToken, r"response_ids\[2\] is -1"),
        ],
        ids=lambda value: "" if not isinstance(value, str) else value[:30],
    )
    def test_a_pair_that_cannot_be_scored_says_why(
        self, llama2: Path, pair: PairInput, error: type[InvalidInput], message: str
    ) -> None:
        encoder = tiny.encoder(llama2)
        pattern = message.replace("U+", r"U\+")

        with pytest.raises(error, match=pattern):
            encoder.encode(pair)

    def test_more_user_turns_than_the_manifest_allows_are_refused(self, chatml: Path) -> None:
        encoder = tiny.encoder(chatml, max_user_turns=1)

        with pytest.raises(BadConversation, match="2 user turns, this model takes at most 1"):
            encoder.encode(CHAT)
        assert encoder.encode(tiny.say("Hello")).ids

    def test_ids_of_text_that_the_model_does_not_have_are_refused(self, chatml: Path) -> None:
        """A tokenizer may have more tokens than the model has embeddings."""
        encoder = _small_model(chatml)

        with pytest.raises(BadToken, match="the tokenizer's ids"):
            encoder.encode(tiny.say("What is a tide?"))

    def test_a_pair_of_which_no_token_is_left_is_refused(self, qwen: Path) -> None:
        jinja = "{% for m in messages %}{{ '' if m.content == 'Hello' else m.content }}{% endfor %}"

        with pytest.raises(EmptyPrompt, match="no token stands for this pair"):
            tiny.encoder(qwen, jinja=jinja).encode(tiny.say("Hello", ""))

    def test_one_bad_pair_does_not_spoil_the_others(self, chatml: Path) -> None:
        encoder = tiny.encoder(chatml)
        good, bad = tiny.say("Hello"), tiny.say("")
        replies = encoder.encode_many([good, bad, tiny.say("Hello", "\ud800"), bad, good])

        assert [type(reply) for reply in replies] == [EncodedPair, EmptyPrompt, BadText, EmptyPrompt, EncodedPair]
        assert replies[0] == replies[4] == encoder.encode(good)

    def test_an_error_reply_holds_no_traceback(self, chatml: Path) -> None:
        [reply] = tiny.encoder(chatml).encode_many([tiny.say("")])

        assert isinstance(reply, EmptyPrompt)
        assert reply.__traceback__ is None


def _markers(folder: Path) -> tuple[str, ...]:
    return ("[/INST]",) if folder.name == "llama2" else ("<|im_start|>assistant\n",)


def _text(folder: Path, ids: tuple[int, ...]) -> str:
    text: str = tiny.raw(folder).decode(list(ids), skip_special_tokens=False)
    return text


def _small_model(folder: Path) -> PairEncoder:
    return load_encoder(folder, Manifest("tiny", Backbone("llama")), vocab_size=50, max_tokens=512)
