"""vLLM's entry point: it refuses other releases, registers the classes by name, and has a merge ratio without effect refused."""

from __future__ import annotations

from aim.kernels.refusal import Refusal
from aim.serving.vllm.served import SERVED, TESTED


def register() -> None:
    """Put the merging classes in the place of vLLM's own. vLLM calls it once in each of its processes, and before anything else.

    Raises:
        SystemExit: this release of vLLM was not tested. A server then ends with this sentence alone, and exit code 1.
    """
    import vllm

    try:
        check_release(vllm.__version__)
    except Refusal as refused:
        raise SystemExit(f"aim: {refused}") from None
    from vllm import ModelRegistry

    from aim.serving.vllm.refusals import refuse_ratios_without_effect

    for architecture, home in SERVED.values():
        ModelRegistry.register_model(architecture, home)
    refuse_ratios_without_effect()
    _tell_cpu_runner()


def check_release(installed: str) -> None:
    """Refuse a release of vLLM that the plugin was not tested with. What follows a "+" names the build and is not compared.

    Raises:
        Refusal: with the release and the tested ones.
    """
    if installed.partition("+")[0] not in TESTED:
        raise Refusal(
            f"This is vLLM {installed}, and the plugin aim was tested with {', '.join(TESTED)} alone; "
            f"install vllm=={TESTED[-1]}, or leave the plugin out with VLLM_PLUGINS='' in the environment."
        )


def _tell_cpu_runner() -> None:
    """vLLM 0.32's runner for processors does not ask the model whether it prunes, as the one for GPUs does, so that positions would stay
    on the embeddings. Stock `--video-pruning-rate` fails there as well."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    load = CPUModelRunner.load_model
    if hasattr(load, "asks_whether_it_prunes"):
        return

    def load_model(self, *arguments, **options):
        load(self, *arguments, **options)
        self.is_multimodal_pruning_enabled = (
            getattr(self.model, "supports_multimodal_pruning", False)
            and self.model_config.multimodal_config.is_multimodal_pruning_enabled()
        )

    load_model.asks_whether_it_prunes = True  # type: ignore[attr-defined]
    CPUModelRunner.load_model = load_model  # type: ignore[method-assign]
