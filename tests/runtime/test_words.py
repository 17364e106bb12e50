"""The words of an answer: which tokens make them, their probabilities against a plain forward, and what they looked at."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import aim
from aim.engine import session
from aim.engine.attended import Attended
from aim.kernels.trace import Trace
from aim.runtime.words import NextTokens, words_of
from aim.shapes.drawing import render
from aim.shapes.model import IMAGE_SIZE, build_model, save
from aim.shapes.scenes import frame_times
from aim.shapes.world import make_scene
from aim.video.clip import clip_from_frames

QUESTION = "what colour is the circle?"
TOKENS = 4


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint")
    save(build_model(), path)
    return aim.load(str(path))


@pytest.fixture(scope="module")
def clip():
    return clip_from_frames(render(make_scene("test", 0), frame_times(4), IMAGE_SIZE)[0], 4.0)


@pytest.fixture(scope="module")
def answer(vlm, clip):
    return vlm.ask(clip, QUESTION, aim.AIM(), max_new_tokens=TOKENS, words=True)


def test_the_words_are_the_text(answer):
    assert [answer.text[word.start : word.end] for word in answer.words] == [word.text for word in answer.words]
    assert "".join(word.text for word in answer.words) == "".join(answer.text.split())
    assert [token.number for word in answer.words for token in word.tokens] == list(range(TOKENS))


def test_probabilities_are_those_of_plain_forwards_of_the_stock_model(vlm, clip):
    answer = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=TOKENS, words=True)
    with vlm.encoded(clip) as encoded, torch.no_grad():
        inputs = vlm.inputs(QUESTION, encoded)
        for token in (token for word in answer.words for token in word.tokens):
            likely = vlm.model(**inputs).logits[0, -1].softmax(-1)
            order = likely.argsort(descending=True).tolist()
            assert [token.choice.id, *(choice.id for choice in token.next_best)] == order[:6]
            shown = torch.tensor([token.choice.probability, *(choice.probability for choice in token.next_best)])
            torch.testing.assert_close(shown, likely[order[:6]], atol=1e-5, rtol=1e-4)
            longer = torch.cat([inputs["input_ids"], torch.tensor([[token.choice.id]])], dim=1)
            inputs = {**inputs, "input_ids": longer, "attention_mask": torch.ones_like(longer)}


def test_a_sampled_token_has_its_own_probability_though_it_is_none_of_the_best(vlm, clip):
    torch.manual_seed(1)
    answer = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=6, words=True, do_sample=True, temperature=5.0, top_k=0)
    said = [token for word in answer.words for token in word.tokens]
    unlikely = [token for token in said if token.choice.probability < min(choice.probability for choice in token.next_best)]
    assert unlikely and all(token.choice.probability > 0 for token in unlikely)
    assert all(len(token.next_best) == 5 for token in said)


def test_penalties_change_the_answer_and_not_the_probabilities_that_are_told(vlm, clip):
    changed = {"repetition_penalty": 1.8, "no_repeat_ngram_size": 1, "suppress_tokens": [1]}
    plain = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=3, words=True)
    answer = vlm.ask(clip, QUESTION, aim.Full(), max_new_tokens=3, words=True, **changed)
    assert torch.equal(answer.next_token, plain.next_token)
    said = [token for word in answer.words for token in word.tokens]
    ids = vlm.prompt_ids(QUESTION, vlm.grid_of(clip), clip.timestamps.tolist())
    for token in said:
        given = vlm.inputs(QUESTION, vlm.features.of(clip)[0])
        longer = torch.tensor([[*ids, *(earlier.choice.id for earlier in said[: token.number])]])
        with torch.no_grad():
            own = vlm.model(**{**given, "input_ids": longer, "attention_mask": torch.ones_like(longer)}).logits[0, -1].softmax(-1)
        assert token.choice.probability == pytest.approx(float(own[token.choice.id]), abs=1e-4)


def test_a_processor_of_the_callers_own_takes_no_words_away(vlm, clip):
    blue = vlm.checkpoint.tokenizer.convert_tokens_to_ids("blue")

    def always(_ids, scores):
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor(blue), 0.0)

    given = vlm.ask(clip, QUESTION, max_new_tokens=1, words=True, logits_processor=[always])
    assert given.text == "blue" and given.words[0].probability < 1
    assert torch.equal(given.next_token, vlm.ask(clip, QUESTION, max_new_tokens=1).next_token)
    assert [token.choice.id for word in given.words for token in word.tokens] == [blue]


def test_each_word_has_the_attention_of_its_tokens(answer):
    trace = answer.trace
    for word in answer.words:
        assert [len(row) for row in word.attention] == [len(alive) for alive in trace.survivors]
        rows = [trace.attention[token.number][0].float() for token in word.tokens]
        torch.testing.assert_close(word.attention[0], sum(rows) / len(rows))
        places = word.looked_at(trace, 0)
        assert places.shape == (4, 49)
        torch.testing.assert_close(places.sum(), word.attention[0].sum(), atol=1e-5, rtol=1e-4)


def test_words_change_nothing_else_and_are_off_by_default(vlm, clip, answer):
    plain = vlm.ask(clip, QUESTION, aim.AIM(), max_new_tokens=TOKENS)
    assert (plain.text, plain.words, plain.trace.attention) == (answer.text, (), [])
    assert torch.equal(plain.next_token, answer.next_token)


def test_the_account_has_words_and_the_whole_json_the_attention_of_their_tokens_once(answer):
    account, whole = json.loads(json.dumps(answer.account())), json.loads(answer.to_json())
    assert [word["text"] for word in account["words"]] == [word.text for word in answer.words]
    assert account["words"] == whole["words"] and "attention" not in account["words"][0]
    rows = whole["trace"]["attention"][answer.words[0].tokens[0].number]
    assert [len(row) for row in rows] == [len(alive) for alive in answer.trace.survivors]
    assert len(json.loads(json.dumps(answer.words[0].to_dict()))["attention"]) == len(rows)


def test_memory_that_is_full_leaves_words_without_attention(vlm, clip, monkeypatch):
    monkeypatch.setattr(session, "Attended", lambda *given: Attended(*given, memory_budget=1))
    answer = vlm.ask(clip, QUESTION, max_new_tokens=2, words=True)
    assert answer.words and all(word.attention == () for word in answer.words)


def of_bytes() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single bytes and a few words, as byte-level BPE has them, with an end token."""
    letters = {letter: number for number, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    vocabulary = letters | {word: len(letters) + number for number, word in enumerate(("Ġre", "Ġr", "re", "<end>"))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("r", "e"), ("Ġ", "re")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" red, don't.", ["red", ",", "don't", "."]),
        ("a 3.5 é¡ ok", ["a", "3.5", "é", "¡", "ok"]),
        ("红色圆", ["红", "色", "圆"]),
        ("🙂 yes", ["🙂", "yes"]),
        ("  ", []),
    ],
)
def test_tokens_of_parts_of_words_and_of_letters_are_joined(text, expected):
    tokenizer = of_bytes()
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    noted = NextTokens()
    for place in range(len(ids)):
        noted(torch.tensor([0, *ids[:place]]), torch.zeros(len(tokenizer)))
    words = words_of(text.strip(), ids, noted, Trace(), tokenizer)
    assert [word.text for word in words] == expected
    spelled = [tokenizer.decode([token.choice.id for token in word.tokens]).strip() for word in words]
    assert spelled == expected
    assert all(token.choice.probability == pytest.approx(1 / len(tokenizer)) for word in words for token in word.tokens)
