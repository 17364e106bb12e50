"""How far a run is: each frame counts once, whatever the tower makes of it, and each layer of the prefill."""

import pytest
import torch

from aim.engine.progress import PREFILL, TOWER, Count, Progress, counting
from aim.families import FAMILIES
from aim.families import batches as module
from tests.tiny import EACH, TINY, pictures_of

FRAMES = 4


@pytest.mark.parametrize("name", EACH)
def test_before_each_part_of_a_clip_the_frames_before_it_are_counted(name, monkeypatch):
    model, family = TINY[name].model(), FAMILIES[name]
    pixels = pictures_of(TINY[name].video_inputs(FRAMES))
    monkeypatch.setattr(module.batches, "__defaults__", (0,))  # one frame a part, or one step of some frames
    tower = next(getattr(model.model, part) for part in ("visual", "vision_tower", "vision_model") if hasattr(model.model, part))
    with torch.no_grad():
        grid = family.encode(model, pixels).grid
        shape = family.vision_shape(model.config, grid)
        count, before = Count(FRAMES, grid.frames * shape.mean_tokens), []
        own = sum(len(layer._forward_hooks) for layer in model.modules())
        hook = tower.register_forward_pre_hook(lambda *_given: before.append(count.now().done))
        with counting(model, count):
            family.encode(model, pixels)
    hook.remove()
    assert before == list(range(0, FRAMES, TINY[name].step)) and count.now() == Progress(TOWER, FRAMES, FRAMES)
    assert sum(len(layer._forward_hooks) for layer in model.modules()) == own


def test_each_layer_of_the_prefill_counts_and_what_was_told_is_no_news():
    model, count, seen = TINY["llava_onevision"].model(), Count(1, 9), []
    inputs = TINY["llava_onevision"].video_inputs(1)
    layers = model.model.language_model.layers
    hooks = [layer.register_forward_pre_hook(lambda *_given: seen.append(count.now())) for layer in layers]
    count.prefills = True
    with counting(model, count), torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    assert seen == [Progress(PREFILL, done, len(layers)) for done in range(len(layers))]
    assert count.news() == Progress(PREFILL, len(layers), len(layers)) and count.news() is None
