"""Keys of the caches and refusals, in vLLM's own processing without an engine."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import vllm
from vllm import plugins
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import BaseMultiModalProcessor
from vllm.multimodal.processing.inputs import ProcessorInputs

from aim.kernels.refusal import Refusal
from aim.serving.vllm.plugin import register
from aim.serving.vllm.processing import MergingProcessor
from tests.serving.vllm.server import ROOT, command


class Keys(MergingProcessor):
    """A processor that is only asked for keys, on a server with this --video-pruning-rate."""

    def __init__(self, rate: float | None):
        config = SimpleNamespace(video_pruning_rate=rate, mm_hasher_algorithm="sha256")
        self.info = SimpleNamespace(model_id="model", ctx=SimpleNamespace(get_mm_config=lambda: config, get_merged_mm_kwargs=dict))

    def frames_of(self, data, clip):
        return 2, 16


def key(rate: float | None, **asked) -> str:
    clip = MultiModalDataParser().parse_mm_data({"video": [np.zeros((2, 8, 8, 3), dtype=np.uint8)]})
    [of_clip] = Keys(rate)._get_mm_hashes(ProcessorInputs([], clip, hf_processor_mm_kwargs=asked))["video"]
    return of_clip


def test_the_ratio_is_in_the_key_of_a_clip_wherever_it_comes_from():
    assert len({key(None), key(0.5), key(0.75), key(0.9)}) == 4
    assert key(0.75) == key(0.5, merge_ratio=0.25) == key(None, merge_ratio=0.25)
    assert key(0.9) == key(None, merge_ratio=0.1)  # 1 - 0.9 is a little less than 0.1
    assert key(0.75) != key(0.75, merge_ratio=0.5)


def test_a_ratio_for_a_model_that_cannot_merge_is_refused():
    register()
    with pytest.raises(Refusal, match="merge_ratio was given, and this server's model cannot merge; Llava.* can. Leave it out"):
        BaseMultiModalProcessor.apply(SimpleNamespace(), SimpleNamespace(hf_processor_mm_kwargs={"merge_ratio": 0.5}), None)


def test_vllm_lets_the_refusal_of_another_release_through(monkeypatch):
    monkeypatch.setattr(vllm, "__version__", "0.33.0")
    monkeypatch.setattr(plugins, "plugins_loaded", False)
    with pytest.raises(SystemExit, match=r"aim: This is vLLM 0\.33\.0, and the plugin aim was tested with 0\.32\.0 alone"):
        plugins.load_general_plugins()
    monkeypatch.setattr(plugins, "plugins_loaded", False)
    monkeypatch.setenv("VLLM_PLUGINS", "")  # as the sentence says
    plugins.load_general_plugins()


@pytest.mark.every  # imports vLLM once more
def test_the_documented_command_under_another_release_ends_with_one_sentence():
    module, *arguments = command()[2:]
    faked = "import vllm, sys, runpy; vllm.__version__ = '0.33.0'; runpy.run_module(sys.argv.pop(1), run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", faked, module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1].startswith("aim: This is vLLM 0.33.0")
    assert "Traceback" not in ended.stderr
