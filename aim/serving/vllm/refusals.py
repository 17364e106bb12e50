"""A request's merge ratio is refused where vLLM would pass it over: at another model, and in a prompt of text alone."""

from __future__ import annotations

from collections.abc import Callable

from aim.kernels.refusal import Refusal
from aim.serving.vllm.served import SERVED


def refuse_ratios_without_effect() -> None:
    """Have vLLM ask here before it processes a prompt. It answers a request that is refused with HTTP 400."""
    from vllm.multimodal.processing import BaseMultiModalProcessor
    from vllm.renderers.base import BaseRenderer

    _ask_before(BaseMultiModalProcessor, "apply", _check_model)
    # With text alone there is nothing for a model's processor to do, and vLLM does not call it.
    for name in ("_process_tokens", "_process_tokens_async"):
        _ask_before(BaseRenderer, name, _check_prompt)


def _ask_before(owner: type, name: str, check: Callable) -> None:
    """Put `check`, which is given the same object and first argument, in front of a method; once, however often it is called."""
    method = getattr(owner, name)
    if hasattr(method, "checks_merge_ratio"):
        return

    def checked(self, given, *arguments, **options):
        check(self, given)
        return method(self, given, *arguments, **options)

    checked.checks_merge_ratio = True  # type: ignore[attr-defined]
    setattr(owner, name, checked)


def _check_model(processor, inputs) -> None:
    from aim.serving.vllm.processing import RATIO, MergingProcessor

    if RATIO in inputs.hf_processor_mm_kwargs and not isinstance(processor, MergingProcessor):
        names = ", ".join(architecture for architecture, _ in SERVED.values())
        raise Refusal(f"merge_ratio was given, and this server's model cannot merge; {names} can. Leave it out.")


def _check_prompt(_renderer, prompt) -> None:
    from aim.serving.vllm.processing import RATIO

    if RATIO in (prompt.get("mm_processor_kwargs") or {}) and not prompt.get("multi_modal_data"):
        raise Refusal("merge_ratio was given with text alone; it is of a clip. Leave it out, or send a clip.")
