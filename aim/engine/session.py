"""The hooks of one `aim.reduce` block. They tell a prefill from a decoding step, and refuse what is neither."""

from __future__ import annotations

import threading
from typing import Any, NoReturn
from weakref import WeakSet

from torch import Tensor, nn

from aim.engine import caches, seams
from aim.engine.attended import Attended
from aim.engine.attention import note_forward
from aim.engine.decoding import Decoding
from aim.engine.features import features_in
from aim.engine.prefill import Prefill
from aim.engine.prompt import Prompt, read_prompts
from aim.engine.unserved import refuse_forward, refuse_left_cache, refuse_outputs
from aim.families import Family
from aim.families.pixel_change import Change, GivenPixels
from aim.kernels.refusal import Refusal
from aim.kernels.tower_attention import TowerAttention
from aim.kernels.trace import Trace
from aim.methods import Method


class Session:
    """Keeps the present prefill, and what decoding needs after it. Its methods are the hooks.

    Attributes:
        score_all: whether every layer is scored, or only those whose scores decide something.
        inputs: keyword arguments of the present forward.
        runner: the thread whose forward runs now; None between two forwards.
        tower: by thread, what the vision tower attended to since that thread's last prompt, one for each of its passes. `generate` encodes
            pixels before it calls the forward, so another thread's passes may come in between.
        prompts: the prompts that wait for their embeddings; None in decoding.
        prefill: the one that runs now, None outside one.
        decoding: None before the end of the first prefill.
        cache: the KV cache of the last prompt.
        attended: what the tokens of the last prompt's answer look at; None where nobody asked.
        caches: every KV cache that holds fewer tokens than its prompt had.
        kept: of how many last tokens of the prompt the head is to see the hidden states; 0 where the model sees to that.
    """

    def __init__(self, parts: seams.Parts, family: Family, method: Method, trace: Trace, score_all: bool, attention: bool = False):
        self.parts, self.family, self.method, self.trace, self.score_all = parts, family, method, trace, score_all
        self.inputs: dict = {}
        self.runner: threading.Thread | None = None
        self.entering = threading.Lock()
        self.tower: dict[int, list[TowerAttention]] = {}
        self.prompts: list[Prompt] | None = None
        self.prefill: Prefill | None = None
        self.decoding: Decoding | None = None
        self.cache: Any = None
        self.wants_attention = attention
        self.attended: Attended | None = None
        self.caches: WeakSet = WeakSet()
        self.kept = 0

    def __reduce__(self) -> NoReturn:
        """Copying or pickling the model takes its hooks along, and a copy would stay reduced for ever.

        Raises:
            Refusal: always.
        """
        raise Refusal("The model is inside `aim.reduce`, and a copy of it would stay reduced. Copy or pickle it after the block.")

    @property
    def runs_here(self) -> bool:
        """Whether the forward that runs now is one of this thread's."""
        return self.runner is threading.current_thread()

    def on_forward(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before the whole model.

        Raises:
            Refusal: it is asked for one logit for each token of the prompt.
        """
        refuse_outputs(seams.named(module, args, kwargs))

    def on_prompt(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before the model without its head: read the prompts. The vision tower has not run yet, so the host waits for nothing.

        Raises:
            Refusal: another thread runs a forward, the forward asks for what cannot be had, its cache is not ours, or the prompts are not
                whole.
        """
        with self.entering:
            if self.runner is not None and not self.runs_here and self.runner.is_alive():
                raise Refusal(
                    "Another thread runs the model at this moment; inside `aim.reduce` one forward runs at a time, since they share the "
                    "trace. Let the threads take turns, each to the end of its answer, or give each a model of its own."
                )
            self.runner = threading.current_thread()
        note_forward(True)
        self.inputs = inputs = seams.named(module, args, kwargs)
        refuse_forward(self.parts, inputs)
        cache, ids = inputs.get(seams.CACHE), inputs.get(seams.IDS)
        self.prompts = self.prefill = None
        if cache is not None and caches.tokens_in(cache) > 0:
            if self.decoding is None or self.cache is not cache:
                raise Refusal(
                    "The cache already holds tokens, and not those of the last prompt inside `aim.reduce`. Start from an empty one, and "
                    "take each answer to its end before the next prompt."
                )
            return
        self.decoding, self.cache = None, cache
        if ids is None:
            raise Refusal("The prompt came as embeddings; give `input_ids`, in which the placeholders of pictures can be found.")
        self.prompts = read_prompts(ids, inputs.get(seams.MASK), inputs, self.parts.whole.config, self.family)
        if self.wants_attention and len(self.prompts) > 1:
            raise Refusal(
                f"The batch has {len(self.prompts)} rows; what each word looked at is recorded for one prompt without beams. "
                "Give one prompt at a time, or record no attention."
            )

    def on_tower(self, seen: TowerAttention) -> None:
        """After a pass of the vision tower."""
        self.tower.setdefault(threading.get_ident(), []).append(seen)

    def on_embeddings(self, _module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Before the text model: merge a prompt, or set the positions of a decoding step.

        Raises:
            Refusal: the text model was called by itself, or several tokens come after the prompt.
        """
        embeddings = kwargs[seams.EMBEDDINGS]
        if self.runs_here and self.prompts is not None:
            told = next((self.inputs[name] for name in seams.TOKEN_TYPES if self.inputs.get(name) is not None), None)
            self.prefill = Prefill(self.method, self.trace, self.score_all, self.prompts, embeddings, self.parts, told)
            kwargs = self.prefill.enter(kwargs, self._tower_attention(), self._changes())
            windowed = {index for index, sight in enumerate(self.prefill.places.sights) if sight.window is not None}
            self.attended = Attended(self.trace, self.prefill.watch, windowed) if self.wants_attention else None
            self.inputs, self.prompts = {}, None
            self.kept = seams.kept_by_itself(self.parts, kwargs)
            return args, kwargs
        if not self.runs_here or self.decoding is None:
            raise Refusal("The text model was called by itself; inside `aim.reduce` call the whole model, which sees the prompt's ids.")
        if embeddings.shape[1] != 1:
            raise Refusal(
                f"The cache holds the prompt, and this forward brings {embeddings.shape[1]} tokens more; inside `aim.reduce` the whole "
                "prompt comes in one forward, then one token at a time. Use plain decoding, without `prefill_chunk_size` or assistance."
            )
        return args, self.decoding.step(kwargs, self._given_positions(kwargs))

    def _given_positions(self, kwargs: dict) -> Tensor | None:
        """The positions that the caller gave a decoding step, else None. Those that the model made itself are left out, because they
        count on from the shortened length."""
        return None if self.inputs.get(seams.POSITIONS) is None else kwargs[seams.POSITIONS]

    def _tower_attention(self) -> dict[str, TowerAttention]:
        """What the vision tower attended to, by kind of picture. It was seen in this forward, or recorded when the features were made."""
        passes = self.tower.pop(threading.get_ident(), [])
        if not self.method.needs_tower:
            return {}
        made = features_in(self.inputs)
        known = {kind: output.attentions[0] for kind, output in made.items() if getattr(output, "attentions", None)}
        # A forward encodes the pixels that it is given. `generate` has encoded them before it calls the forward, and passes features on.
        kinds = [kind for kind, name in seams.PIXELS.items() if kind not in known and (kind in made or self.inputs.get(name) is not None)]
        latest = passes[-len(kinds) :] if kinds else []
        known |= dict(zip(kinds, latest, strict=True)) if len(latest) == len(kinds) else {}
        return {self._standing(kind): seen for kind, seen in known.items()}

    def _standing(self, kind: str) -> str:
        """At which kind's placeholders pictures of a kind stand. Some families' clips stand at those of images."""
        return "image" if self.family.videos is None else kind

    def _changes(self) -> dict[str, Change]:
        """What is known of the change of pixels, by kind of picture: what came with the features, or the pixels of this forward."""
        if not self.method.needs_pixels:
            return {}
        config, given = self.parts.whole.config, {kind: self.inputs.get(name) for kind, name in seams.PIXELS.items()}
        known: dict[str, Change] = {
            kind: GivenPixels(self.family, config, pixels) for kind, pixels in given.items() if isinstance(pixels, Tensor)
        }
        made = {kind: getattr(output, "pixel_change", None) for kind, output in features_in(self.inputs).items()}
        known |= {kind: change for kind, change in made.items() if change is not None}
        return {self._standing(kind): change for kind, change in known.items()}

    def on_layer(self, index: int, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Before a text layer: drop tokens in a prefill, or mask padding in a decoding step. A layer called by itself runs as it is."""
        if not self.runs_here or self.prefill is None and self.decoding is None:
            return args, kwargs
        if self.prefill is None:
            kwargs = self.decoding.layer(index, kwargs)
            watched = self.attended is not None and seams.attends(module)
            return args, self.attended.in_step(index, kwargs) if watched else kwargs
        hidden, further, kwargs = seams.take_hidden(args, kwargs)
        hidden, kwargs = self.prefill.layer(index, module, hidden, kwargs)
        if self.attended is not None:
            kwargs = self.attended.in_prefill(index, self.prefill.rows[0].visual, kwargs, seams.attends(module))
        return (hidden, *further), kwargs

    def on_output(self, _module: nn.Module, _args: tuple, output: Any) -> None:
        """After the text model: end the prefill."""
        if not self.runs_here:
            return
        if self.prefill is None:
            if self.attended is not None:
                self.attended.end()
            return
        self.prefill.watch.wait(seams.last_hidden(output).device)  # the last GPU of a model that is spread over several
        if self.cache is None:
            self.cache = seams.cache_of(output)
        prefill, self.prefill = self.prefill, None
        if self.cache is not None and prefill.shortened:
            caches.follow(self.cache, self.caches)
        self.decoding = prefill.leave(self.cache)
        if self.attended is not None:
            self.attended.end()
        if self.kept:
            seams.keep_last(output, self.kept)

    def on_end(self, *_: Any) -> None:
        """After the model without its head, also where it raised: the next forward may run."""
        if self.runs_here:
            self.runner = None
            note_forward(False)

    def close(self) -> None:
        """After the block: the model outside would go on wrongly from what the caches hold, so they refuse."""
        for cache in self.caches:
            caches.close_cache(cache, refuse_left_cache)
