"""What a model family is: how its pictures lie in a prompt, and how frames become its inputs. One entry a family, in a file of its own.

The engine reads everything else off the uniform shape that transformers gives its multimodal models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aim.families.language import dense
from aim.families.pixel_change import PATCHES_OR_FRAMES, PixelLayout
from aim.families.published import Published
from aim.families.reduced_tower import TowerLayers
from aim.families.row_tower import RowLayers
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.shape import ModelShape, VisionShape
from aim.methods import METHODS, Method
from aim.methods.knob import in_short
from aim.methods.tower import TOWER, FrameLengths, Tower


@dataclass(frozen=True)
class Picture:
    """One image or video in a prompt, as `length` placeholders.

    Attributes:
        grids: its grids, one after the other; an image that is also shown enlarged in tiles has two.
        places: for each grid long [frames · rows · columns], each patch's place from the picture's first placeholder. Placeholders that no
            grid names are separators, which are treated as text.
        length: placeholders in all.
    """

    grids: tuple[Grid, ...]
    places: tuple[Tensor, ...]
    length: int


def plain_picture(frames: int, rows: int, columns: int, separators: int = 0) -> Picture:
    """A picture whose patches come first, in order, with `separators` behind them."""
    grid = Grid(frames, rows, columns)
    return Picture((grid,), (torch.arange(grid.tokens),), grid.tokens + separators)


def whole_picture(_picture_settings: dict, height: int, width: int) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of what a model sees of a picture that it does not crop."""
    return 0, 0, width, height


# It is called with the number of placeholders that the run still holds, and gives the next picture in it. It raises a Refusal where these
# are not whole pictures.
Reader = Callable[[int], Picture]


@dataclass(frozen=True)
class Encoded:
    """A clip as the model takes it. It is made once for each clip.

    Attributes:
        features: what goes into `generate` as `mm_encoder_outputs`, so that the vision tower need not run again. The `attentions` of its
            entry hold one `aim.kernels.tower_attention.TowerAttention` where the family's tower can be watched.
        inputs: further keyword arguments of `generate`, such as the grid's size.
        grid: the clip's visual tokens.
        times: the second at which each frame appears; empty where the frames have none.
        tower_lengths: for each frame the (queries, keys) of each layer of a reduced vision tower; empty where it ran in full.
    """

    features: dict[str, Any]
    inputs: dict[str, Tensor]
    grid: Grid
    times: Sequence[float] = ()
    tower_lengths: Sequence[FrameLengths] = ()


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        title: its name for people.
        image_token, video_token: (config) → id of the placeholder of an image or video, or None where it has none of its own.
        images, videos: (config, keyword arguments of the model's forward) → `Reader` of the pictures at those placeholders.
        grid: (config, picture settings, frames, height, width) → `Grid` of a clip of frames of that size; the settings may be empty.
        pixel_values: (config, frames uint8 [F, H, W, 3], picture settings) → what `encode` takes, by keyword.
        encode: (model, pixel values) → `Encoded`.
        clip_text: what the chat template writes for a clip; `prompt` replaces it.
        prompt: (grid, times) → what stands for a clip in the prompt: strings, and numbers of placeholders. The times are the seconds at
            which its frames appear, and empty where they are not known.
        vision_shape: (config, grid) → `VisionShape`, what the vision tower's cost is made of.
        language_shape: (text config) → `ModelShape`, what the LLM's cost is made of.
        token_types: the argument by which the model's forward is told 0 for text, 1 for images, 2 for videos; "" where there is none.
        flagged: (config) → ids of the markers around pictures that it is told to be images as well.
        begun: its processor begins a prompt with the tokenizer's first token, or with its last one where it has no first.
        by_config: (this family, config) → the family with the fields that differ for this model; see `aim.families.family_of`.
        clip_type: what a clip is called in a conversation: "video", or "image" where the family knows no videos and frames go in as images.
        timing: (seconds from one frame to the next) → further inputs that say so, or None where the model is not told.
        watch_tower: (model, callback) → hook handles. The callback gets a `TowerAttention` for each pass of the vision tower: its frames in
            order, or all tokens as one frame where pictures differ in size. None where the family has no tower that can be watched.
        tower_layers: (model) → `TowerLayers`, or `RowLayers`, by which its vision tower is reduced; None where it cannot be.
        tower_reuse: whether that tower can also reuse what stands still.
        keeping_sizes: (model) → hook handles that add to the tower's output how large its pictures are, where a prompt does not tell.
        pixel_layout: how its pixel values hold the pixels of visual tokens.
        published: the published models of the family.
        picture_settings: the picture settings of their checkpoints, as in `preprocessor_config.json`; for models with random weights.
        settings_in_code: whether the checkpoints' own processor has the picture settings in its code; then `picture_settings` stand in for
            those that a checkpoint does not bring.
        unquantised: paths of the modules that keep their weights where the LLM is quantised: the vision tower, its projector, the head.
        ramp: AIM's l1 and l2 that the paper has for the family; LLaVA-OneVision's where it has none of the family's own.
        shown: (picture settings, height, width) → (left, top, right, bottom): the pixels of such a frame that the grid covers.
        for_images: (this family) → the family with the fields that differ where one picture goes in through the model's own image prompt:
            as a clip of one frame, which is the picture as a whole. None where pictures are not taken.
        tiles: the model's own processor also shows a picture enlarged in tiles, which `for_images` leaves out.
        refuses: (config) → why a model of the family cannot be reduced, in a sentence; "" for those that can.
        suggested_for_video: the app names the family's models where it says which ones would take real videos on this machine.
        good_for: what its models are good for, in a sentence or two, for somebody who chooses one on the page.
    """

    title: str
    image_token: Callable[..., int | None]
    video_token: Callable[..., int | None]
    images: Callable[..., Reader]
    videos: Callable[..., Reader] | None
    grid: Callable[..., Grid]
    pixel_values: Callable[[Any, np.ndarray, dict], dict[str, Tensor]]
    encode: Callable[..., Encoded]
    clip_text: str
    prompt: Callable[[Grid, Sequence[float]], list[str | int]]
    vision_shape: Callable[[Any, Grid], VisionShape]
    language_shape: Callable[[Any], ModelShape] = dense
    token_types: str = ""
    flagged: Callable[[Any], tuple[int, ...]] = lambda _config: ()
    begun: bool = False
    by_config: Callable[[Family, Any], Family] = lambda family, _config: family
    clip_type: str = "video"
    timing: Callable[[float], dict[str, Tensor]] | None = None
    watch_tower: Callable[..., list] | None = None
    tower_layers: Callable[[Any], TowerLayers | RowLayers] | None = None
    tower_reuse: bool = True
    keeping_sizes: Callable[..., list] | None = None
    pixel_layout: PixelLayout = PATCHES_OR_FRAMES
    published: tuple[Published, ...] = ()
    picture_settings: dict[str, Any] = field(default_factory=dict)
    settings_in_code: bool = False
    unquantised: tuple[str, ...] = ("model.vision_tower", "model.multi_modal_projector", "lm_head")
    ramp: StatedRamp = PAPER_RAMP
    shown: Callable[[dict, int, int], tuple[float, float, float, float]] = whole_picture
    suggested_for_video: bool = False
    good_for: str = ""
    for_images: Callable[[Family], Family] | None = None
    tiles: bool = False
    refuses: Callable[[Any], str] = lambda _config: ""

    def taking(self, is_image: bool) -> Family:
        """This family, or where `is_image` the one that takes a single picture through the family's own image prompt.

        Raises:
            Refusal: the family takes no pictures here.
        """
        if not is_image:
            return self
        if self.for_images is None:
            raise Refusal(f"{self.title} takes only clips here, not single pictures. Give a video, or choose another model.")
        return self.for_images(self)

    def told_types(self, config: Any, ids: Tensor) -> dict[str, Tensor]:
        """The argument by which the model's forward is told where pictures are in `ids` [B, n]; empty where there is none."""
        if not self.token_types:
            return {}
        kinds = torch.zeros_like(ids, dtype=torch.int)
        for kind, token in ((1, self.image_token(config)), (2, self.video_token(config)), *((1, token) for token in self.flagged(config))):
            if token is not None:
                kinds[ids == token] = kind
        return {self.token_types: kinds}

    @property
    def tower_limits(self) -> dict[str, str]:
        """The settings of `aim.Tower` that the family's vision tower cannot do, each with the reason, which begins a sentence."""
        if self.tower_layers is None:
            return dict.fromkeys(("merge", "reuse"), f"The vision tower of {self.title} cannot be reduced")
        return {} if self.tower_reuse else {"reuse": f"The vision tower of {self.title} reuses nothing from frame to frame"}

    def fit_tower(self, tower: Tower | None, num_layers: int) -> Tower | None:
        """A setting of the vision tower for one of the family's towers, which has that many layers; None stays None.

        Raises:
            Refusal: it is no setting of a tower, the family's tower cannot be reduced, or the tower has no such layer.
        """
        TOWER.check("tower", tower)
        if tower is None:
            return None
        limits = self.tower_limits
        if "merge" in limits:
            raise Refusal(
                f"{limits['merge']}; accepted: the towers of LLaVA's models, Qwen's, InternVL and Gemma 3. Leave tower out, or "
                "--tower-merge and --tower-reuse on the command line."
            )
        if tower.reuse is not None and "reuse" in limits:
            raise Refusal(f"{limits['reuse']}; accepted: merge alone. Leave reuse out, or --tower-reuse on the command line.")
        return tower.for_depth(num_layers)

    def reducing(
        self, model: nn.Module, tower: Tower | None, picture_settings: dict | None = None
    ) -> AbstractContextManager[list[FrameLengths]]:
        """A block in which the model's vision tower runs as `tower` says, and with None as always. It refuses what `fit_tower` does.

        `picture_settings` are the checkpoint's, by which frames are normalised; without them the family's own hold. The block yields the
        (queries, keys) of each layer, for each frame that a reduced tower has seen in it.
        """
        found = None if tower is None or self.tower_layers is None else self.tower_layers(model)
        fitted = self.fit_tower(tower, 0 if found is None else len(found.layers))
        if found is None or fitted is None:
            return nullcontext([])
        return found.reduced(fitted, (self.picture_settings | (picture_settings or {}))["image_std"])

    def fit(self, method: Method, num_layers: int) -> Method:
        """A method for a model of this family with that many layers, with every knob filled in that depends on these two.

        Raises:
            Refusal: the method reads the vision tower, and the family's cannot be watched.
        """
        if method.needs_tower and self.watch_tower is None:
            others = ", ".join(name for name, kind in METHODS.items() if not kind().needs_tower)
            raise Refusal(
                f"The method is {in_short(method)}, which reads what the vision tower attends to, and the tower of {self.title} cannot be "
                f"watched; accepted: methods that do not read it, {others}. Choose one of these at its defaults."
            )
        return method.for_depth(num_layers, self.ramp)
