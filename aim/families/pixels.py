"""Frames to pixel values with pillow, as the checkpoints' own processors make them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def normalised_frames(frames: np.ndarray, picture_settings: dict, height: int, width: int) -> Tensor:
    """Resize, rescale and normalise uint8 [F, H, W, 3] → float32 [F, 3, height, width].

    `picture_settings` are the checkpoint's: `resample` (bicubic if absent), `rescale_factor` (1/255), `image_mean`, `image_std`.
    """
    resample = Image.Resampling(picture_settings.get("resample", Image.Resampling.BICUBIC))
    if frames.shape[1:3] != (height, width):
        frames = np.stack([np.asarray(Image.fromarray(frame).resize((width, height), resample)) for frame in frames])
    scale = picture_settings.get("rescale_factor", 1 / 255)
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float().mul_(scale)
    mean, std = (torch.tensor(picture_settings[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    return pixels.sub_(mean).div_(std)


def cropped(pixels: Tensor, height: int, width: int) -> Tensor:
    """The middle of [F, 3, H, W], [F, 3, height, width], padded with zeros where H x W is smaller than height x width."""
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[-2:], (height, width), strict=True))
    below, right = pixels.shape[-2] - height - top, pixels.shape[-1] - width - left
    return torch.nn.functional.pad(pixels, (-left, -right, -top, -below))
