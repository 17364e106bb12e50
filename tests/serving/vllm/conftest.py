"""vLLM on a processor, without a network. Its processes read the environment, so it is set before any of them starts."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def _prepare() -> None:
    os.environ.update(VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_WORKER_MULTIPROC_METHOD="spawn", DO_NOT_TRACK="1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # an engine is a part of this process, and a server's worker a part of its engine
    if version("torch").endswith("+cpu") and not version("torchvision").endswith("+cpu"):
        stand_in = str(Path(__file__).parent / "stand_in")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [stand_in, os.environ.get("PYTHONPATH")]))
        sys.path.insert(0, stand_in)
        sys.modules.pop("sitecustomize", None)
        import sitecustomize  # noqa: F401


# pytest reads this file where vLLM is not installed too, although it collects nothing here then.
if find_spec("vllm"):
    _prepare()
