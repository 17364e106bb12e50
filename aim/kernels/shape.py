"""The numbers of a model that its cost is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class LinearShape:
    """The numbers of a layer of linear attention, a gated delta net: it keeps one matrix a head in place of keys and values.

    Attributes:
        key_heads, key_dim: of queries and of keys, each of key_heads · key_dim numbers a token.
        value_heads, value_dim: of values, of the gate on them, and of the matrices [key_dim, value_dim], one a value head.
        kernel: tokens that the convolution over queries, keys and values spans.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def state(self) -> int:
        """Numbers in the matrices of one layer."""
        return self.value_heads * self.key_dim * self.value_dim

    def weights(self, hidden: int) -> int:
        """Weights that a token of size `hidden` meets: q, k, v, gate, output, the two numbers a head for decay and step, convolution."""
        values = self.value_heads * self.value_dim
        channels = 2 * self.key_heads * self.key_dim + values
        return hidden * (channels + 2 * values + 2 * self.value_heads) + self.kernel * channels


@dataclass(frozen=True)
class Heads:
    """The heads that some layers have in place of the others'.

    Attributes:
        values_are_keys: one matrix makes keys and values.
        num_heads: heads of queries; 0 where they are as many as in the others.
    """

    num_key_value_heads: int
    head_dim: int
    values_are_keys: bool = False
    num_heads: int = 0


@dataclass(frozen=True)
class ModelShape:
    """The numbers of a decoder-only LLM with gated MLPs and grouped-query attention (Qwen2, Llama), and of what some have besides.

    Attributes:
        intermediate_size: of the MLP. Where a layer has several (experts), of those together that one token uses.
        router: outputs of the matrices that choose experts for a token; 0 where there are none.
        unused_size: width of the experts together that one token does not use. They take memory and no time.
        gate: whether queries bring a gate of the same size on what attention gives.
        head_gate: whether each query head has a gate of one number on what it gives.
        linear: what the layers `linear_layers` have in place of attention to keys; None where there are none.
        linear_layers: their indices, ascending.
        window: how many tokens the layers `windowed_layers` look back on, themselves among them; 0 where there are none.
        windowed_layers: their indices, ascending.
        other_heads: what the layers `other_layers` have in place of `num_key_value_heads` and `head_dim`; None where there are none.
        other_layers: their indices, ascending.
        values_are_keys: one matrix makes keys and values.
        dense_size: of the single MLP that the layers `dense_layers`, which all attend to keys, have in place of experts.
        dense_layers: their indices, ascending.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    router: int = 0
    unused_size: int = 0
    gate: bool = False
    linear: LinearShape | None = None
    linear_layers: tuple[int, ...] = ()
    window: int = 0
    windowed_layers: tuple[int, ...] = ()
    other_heads: Heads | None = None
    other_layers: tuple[int, ...] = ()
    values_are_keys: bool = False
    head_gate: bool = False
    dense_size: int = 0
    dense_layers: tuple[int, ...] = ()

    def of(self, layer: int) -> ModelShape:
        """The same numbers with the heads and the MLP of this layer."""
        shape = self
        if self.other_heads and layer in self.other_layers:
            shape = replace(shape, **asdict(self.other_heads) | {"num_heads": self.other_heads.num_heads or self.num_heads})
        if layer in self.dense_layers:
            shape = replace(shape, intermediate_size=self.dense_size, router=0, unused_size=0)
        return shape

    def cached(self, layer: int, tokens: int) -> int:
        """How many entries a layer's KV cache holds after so many tokens. One with a window keeps what the next token looks back on."""
        if layer in self.linear_layers:
            return 0
        return min(tokens, self.window - 1) if layer in self.windowed_layers else tokens

    @property
    def layer_weights(self) -> int:
        """Weights that one token meets in a layer that attends to keys: q, k, v, o and gate, up, down, seven matrices in most models.

        They are those of the layers without heads or an MLP of their own; `of` has the others.
        """
        keys = (2 - self.values_are_keys) * self.num_key_value_heads * self.head_dim
        attention = (2 + self.gate) * self.num_heads * self.head_dim + self.head_gate * self.num_heads + keys
        return self.hidden_size * attention + self.mlp_weights

    @property
    def mlp_weights(self) -> int:
        """Weights that one token meets in a layer's MLP."""
        return self.hidden_size * (3 * self.intermediate_size + self.router)

    @property
    def linear_weights(self) -> int:
        """Weights that one token meets in a layer of linear attention; those of the MLP alone where there is no such layer."""
        return self.mlp_weights + (self.linear.weights(self.hidden_size) if self.linear else 0)

    @property
    def scored_from(self) -> int:
        """The first layer that attends to keys, which is the first that tokens can be scored in."""
        return next(layer for layer in range(self.num_layers) if layer not in self.linear_layers)

    @property
    def weights(self) -> int:
        """Weights in the matrices of all layers."""
        each = [self.of(layer) for layer in range(self.num_layers)]
        unused = 3 * self.hidden_size * sum(own.unused_size for own in each)
        full = sum(own.layer_weights for layer, own in enumerate(each) if layer not in self.linear_layers)
        return full + len(self.linear_layers) * self.linear_weights + unused


@dataclass(frozen=True)
class VisionShape:
    """The numbers of a ViT with two-matrix MLPs (SigLIP, CLIP) and of the projector behind it.

    Attributes:
        intermediate_size: of a two-matrix MLP; a gated MLP, which has three matrices, is given with 1.5 times its own width.
        patch_pixels: inputs of one patch: channels · patch side², times the frames it spans.
        projector_size: the LLM's hidden size, which the projector maps to; 0 counts no projector.
        projector_patches: patches the projector takes together as one token.
        projector_middle: width between its two matrices; 0 stands for `projector_size`.
        other_tokens: tokens of a frame that are no patches and that the projector does not get, such as CLS.
        windows: patches of each window of a frame, which the layers `windowed_layers` attend within; empty where there are none.
        windowed_layers: their indices, ascending.
        projectors: projectors of this size in all; more than one where layers inside the tower have their own (DeepStack).
        projector_matrices: 2, or 1 where the projector is a single matrix.
        projector_means: the projector takes the mean of the patches, and not one behind the other.
        means_by_matrix: these means are a product of a matrix with all patches of a frame.
        projector_further: weights of the projector that a token meets behind these matrices.
        narrowed_by: patches that become one inside the tower; 1 where none do.
        narrowed_from: the first layer that runs on what is left of them.
        narrowing_size: width between the two matrices that make them one. Before that they attend to one another, with matrices as large
            as a layer's.
        keys_size: width of keys, and of values; 0 stands for `hidden_size`. It is less where several heads share them.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    patches_per_frame: int
    patch_pixels: int
    projector_size: int = 0
    projector_patches: int = 1
    projector_middle: int = 0
    other_tokens: int = 0
    windows: tuple[int, ...] = ()
    windowed_layers: tuple[int, ...] = ()
    projectors: int = 1
    projector_matrices: int = 2
    projector_means: bool = False
    means_by_matrix: bool = False
    projector_further: int = 0
    keys_size: int = 0
    narrowed_by: int = 1
    narrowed_from: int = 0
    narrowing_size: int = 0

    @property
    def last_patches(self) -> int:
        """Patches of a frame that leave the tower."""
        return self.patches_per_frame // self.narrowed_by

    @property
    def mean_tokens(self) -> float:
        """Tokens of a frame that a layer runs on, the mean over the layers."""
        return sum(self.lengths(layer, self.parts)[0] for layer in range(self.num_layers)) / self.num_layers

    @property
    def parts(self) -> tuple[int, ...]:
        """Patches of each window of a frame, or of the whole frame where it has no windows."""
        return self.windows or (self.patches_per_frame,)

    def lengths(self, layer: int, parts: Sequence[int]) -> tuple[int, float]:
        """(queries, keys) of a layer for one frame whose windows, or which as a whole, has so many patches. Within windows the keys are the
        mean over the queries."""
        if self.narrowed_by > 1 and layer >= self.narrowed_from:
            parts = [part // self.narrowed_by for part in parts]
        tokens = sum(parts) + self.other_tokens
        return tokens, sum(part**2 for part in parts) / tokens if layer in self.windowed_layers else tokens
