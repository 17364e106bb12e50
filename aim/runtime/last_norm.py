"""Features after the last norm of a vision tower, for checkpoints whose config asks for them (`tie_last_hidden_states`).

transformers reads that attribute since 5.18 (https://github.com/huggingface/transformers/pull/48087). Releases before ignore it and give
the features before the norm. The bundled model was trained on those after it.
"""

from __future__ import annotations

import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

READS_CONFIG = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 18)


def tie_last_hidden_states(model: PreTrainedModel) -> None:
    """Make a tower whose config asks for it give its normed output as `hidden_states[-1]`, as transformers does itself since 5.18.

    A hook stays on that tower. A model that does not ask for it, and any model on a release that reads the config, is left as it is.
    """
    if READS_CONFIG:
        return
    for module in model.modules():
        is_tower = isinstance(module, PreTrainedModel) and module.main_input_name == "pixel_values" and module is not model
        if is_tower and getattr(module.config, "tie_last_hidden_states", False):
            module.register_forward_hook(_tie)


def _tie(_tower: nn.Module, _args: tuple, output: ModelOutput | tuple) -> None:
    if isinstance(output, ModelOutput) and output.get("hidden_states"):
        output["hidden_states"] = (*output["hidden_states"][:-1], output["last_hidden_state"])
