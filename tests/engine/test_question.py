"""A merger that reads the question gets the LLM's embeddings of the text behind the pictures, of each prompt its own."""

from dataclasses import dataclass

import pytest
import torch

import aim
from aim.engine import seams
from aim.kernels.refusal import Refusal
from aim.methods import Method
from tests.tiny import FEWER, IMAGE, TINY, VIDEO

GIVEN = []


@dataclass(frozen=True)
class Asking(Method):
    """Merges nothing, and notes the question that it was given."""

    needs_question = True

    def merge(self, patches, tower=None, question=None):
        GIVEN.append(question)


@dataclass(frozen=True)
class Deaf(Asking):
    needs_question = False


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def run(model, inputs, method):
    """What the method's merger was given for each prompt."""
    GIVEN.clear()
    with torch.no_grad(), aim.reduce(model, method):
        model(**inputs)
    return list(GIVEN)


def end_of_clip(ids):
    return int(((ids == IMAGE) | (ids == VIDEO)).nonzero()[-1]) + 1


def test_each_prompt_of_a_batch_hands_over_its_own_question(family, model):
    batch, alone = family.batch_inputs(texts=((3, 6), (5, 11)))
    for given, inputs in zip(run(model, batch, Asking()), alone, strict=True):
        ids = inputs["input_ids"][0]
        # Where the text model itself makes its words larger, they are as large here as visual tokens are beside them.
        scale = seams.word_scale(seams.parts_of(model))
        assert torch.equal(given, model.get_input_embeddings()(ids[end_of_clip(ids) :]) * scale)


def test_a_prompt_without_a_question_is_refused_where_the_method_reads_it(family, model):
    inputs = family.video_inputs()
    if model.config.model_type in ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"):
        pytest.skip("The model takes it for granted that a marker stands behind a clip.")
    end = end_of_clip(inputs["input_ids"][0])
    words = {name: inputs[name][:, :end] for name in ("input_ids", "attention_mask", "mm_token_type_ids") if name in inputs}
    with pytest.raises(Refusal, match="by the question, and the prompt has no text behind its pictures. Put the question behind them"):
        run(model, inputs | words, Asking())
    assert run(model, inputs | words, Deaf()) == [None]
