"""The inputs on which official code was run are made again from their seeds to the sixth digit, and what came out of it is whole."""

from pathlib import Path

import pytest
import torch

from tests.official import DATA, SEEDS, llm, patches, question, rivals, tower

SUMS = {
    ("a", "iid"): (20021.7, 0.813611, 10519.5, 31571, 10346.5, 10538.1, 68.1175),
    ("a", "video"): (30649.2, 1.20071, 15135.9, 31201.7, 10474.3, 15352.6, 77.1188),
    ("b", "iid"): (60091.7, 0.219412, 31868.3, 91560, 30657.9, 30208.9, 74.8807),
    ("b", "video"): (94427.6, 0.17816, 46951.1, 91740.3, 30537.1, 49070.3, 78.9722),
    ("c", "iid"): (49997.7, 2.35666, 26057.3, 76441.2, 25252.7, 25332.8, 78.5648),
    ("c", "video"): (73625.1, 2.61032, 36846.5, 76073, 25568.6, 39214.8, 78.0635),
}
METHODS = sorted(Path(path).stem for path in DATA.glob("*.npz"))


@pytest.mark.parametrize("made", SEEDS, ids=" ".join)
def test_the_inputs_are_those_that_the_official_code_saw(made):
    attended, layer, asked = tower(*made), llm(*made), question(*made)
    tensors = (patches(*made), attended["keys"], layer["query"], layer["key"], asked["image"], asked["text"])
    sums = [float(tensor.double().abs().sum()) for tensor in tensors]
    sums.insert(1, float(attended["received"].double().square().sum()))
    assert sums == pytest.approx(SUMS[made], rel=1e-5)


def test_there_are_eleven_methods():
    assert len(METHODS) == 11


@pytest.mark.parametrize("method", METHODS)
def test_what_came_out_is_made_of_what_went_in(method):
    for name, case in rivals(method).items():
        if "weights" in case:
            weights = case["weights"]
            assert weights.shape == (case["tokens_out"], case["tokens_in"]) and torch.isfinite(weights).all(), name
            assert weights.abs().sum(1).min() > 0, name
