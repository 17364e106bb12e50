"""vLLM on a processor, without a network. Its processes read the environment, so it is set before any of them starts."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from aim.serving.vllm.served import SERVED


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


@pytest.fixture(scope="session", autouse=True)
def classes_are_looked_at_here():
    """Before a start vLLM looks at the model's class in a process of its own, which has to import vLLM for it. It keeps what it saw in its
    cache, where the server of the tests finds it."""
    from vllm import ModelRegistry
    from vllm.model_executor.models import registry
    from vllm.plugins import load_general_plugins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_run_in_subprocess", lambda look: look())
        load_general_plugins()
        for architecture, _ in SERVED.values():
            ModelRegistry.models[architecture].inspect_model_cls()
        yield
