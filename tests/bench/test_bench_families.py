"""Every family can be measured with random weights and its own picture settings, on tiny models."""

import pytest
import torch

import aim
from aim.bench.measure import measure_vision, run_once
from aim.bench.sizes import random_model
from aim.bench.summary import planned
from aim.bench.tiny import TINY_PICTURES
from aim.bench.variants import variants_of
from aim.bench.workload import workload
from aim.families import FAMILIES
from tests.rows import one_in
from tests.tiny import EACH, TINY


@pytest.mark.parametrize("kind", one_in(2, EACH))
def test_a_model_with_random_weights_runs_as_planned(kind):
    published, config = FAMILIES[kind].published[0].config(), TINY[kind].model(vocab_size=120).config
    # The tiny model is one of the published kind, of other sizes.
    assert (published.model_type, published.text_config.model_type) == (config.model_type, config.text_config.model_type)
    settings = FAMILIES[kind].picture_settings | TINY_PICTURES[kind]
    model = random_model(config, torch.device("cpu"), torch.float32)
    work = workload(model, settings, 3, 60)
    [_, variant] = variants_of(["aim"], [aim.AIM(merge_ratio=0.5, l1=2, l2=5)], 6).values()
    run, plan = run_once(model, variant, work, 2), planned(config, variant, work, 4)
    assert run.key_value_bytes == plan.kv_bytes < plan.baseline_kv_bytes
    assert measure_vision(model, settings, 3).tower_seconds > 0
