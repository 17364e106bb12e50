"""Lets vLLM's build for processors start beside builds of torchvision, torchaudio and torchcodec for GPUs, whose libraries do not load.

Registries without a build for processors give those. Python imports this file at its start where the folder is on PYTHONPATH. Nothing here
is needed where the builds fit each other.
"""

import sys
from importlib.abc import MetaPathFinder


class TorchvisionOperators(MetaPathFinder):
    """Declares the two operators that torchvision's Python code names at its import, without an implementation; none of them is called."""

    SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            from torch.library import define

            define("torchvision::nms", self.SCHEMA)
            define("torchvision::qnms", self.SCHEMA)


sys.meta_path.insert(0, TorchvisionOperators())
# With None here an import fails as if the package were not installed, and both are optional.
sys.modules.update(torchaudio=None, torchcodec=None)
