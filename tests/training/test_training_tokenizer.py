import pytest
from transformers import PreTrainedTokenizerFast

from service.types import Message
from training.demo_data.generator import generate
from training.demo_data.lexicon import Split
from training.tokenizer import render, texts_of, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(texts_of(generate(0, Split.TRAIN, 20)), vocab_size=400)


def test_the_same_texts_give_the_same_file(tokenizer: PreTrainedTokenizerFast) -> None:
    again = train_tokenizer(texts_of(generate(0, Split.TRAIN, 20)), vocab_size=400)

    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_conversation_ends_right_after_its_last_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    text = render(tokenizer, [Message("user", " Hi\n")], "Hello!")

    assert text == "<s><|im_start|>user\n Hi<|im_end|>\n<|im_start|>assistant\n Hello!<|im_end|>"


def test_a_rendered_prompt_is_a_prefix_of_prompt_and_response(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    whole = [*prompt, {"role": "assistant", "content": "Hello"}]

    rendered_prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)

    assert tokenizer.apply_chat_template(whole, tokenize=False) == rendered_prompt + " Hello<|im_end|>"


def test_the_first_word_of_a_turn_is_the_token_it_is_elsewhere(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer(render(tokenizer, [Message("user", "the end of the")], "the"))["input_ids"]
    (the,) = tokenizer(" the")["input_ids"]

    assert ids.count(the) == 3


def test_bos_stands_once_at_the_start(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer(render(tokenizer, [Message("user", "Hi")], "Hello"))["input_ids"]

    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_pad_and_end_of_turn_are_different_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == "<|im_end|>"


def test_any_text_survives_encoding(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Zoë's 12 \u4f60\u597d \U0001f600\tx\n\n  y"

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_digits_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer("2048")["input_ids"]) == 4
