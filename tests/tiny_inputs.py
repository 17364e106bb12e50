"""Pictures and words as processors return them, for the tiny models of `aim.bench.tiny_models`."""

from __future__ import annotations

import torch

from aim.bench.tiny_models import IMAGE, NEWLINE, VIDEO
from aim.families.gemma4_tower import ONE_AXIS

# A picture as a processor returns it: (ids, further inputs with the pictures along the first axis).
Part = tuple[list[int], dict[str, torch.Tensor]]


def llava_onevision_clip(frames: int, generator) -> Part:
    return [VIDEO] * (frames * 25 + 1), {"pixel_values_videos": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def llava_onevision_image(generator) -> Part:
    """Base views alone, as several images in a prompt have them; see `TinyFamily.image_inputs`."""
    pixels = torch.randn(1, 1, 3, 40, 40, generator=generator)
    return [IMAGE] * 101, {"pixel_values": pixels, "image_sizes": torch.tensor([[30, 50]])}


def llava_clip(frames: int, generator) -> Part:
    return ([IMAGE] * 25 + [NEWLINE]) * frames, {"pixel_values": torch.randn(frames, 3, 20, 20, generator=generator)}


def llava_image(generator) -> Part:
    return [IMAGE] * 25, {"pixel_values": torch.randn(1, 3, 20, 20, generator=generator)}


def llava_next_video_clip(frames: int, generator) -> Part:
    return [VIDEO] * (frames * 25), {"pixel_values_videos": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def llava_next_video_image(generator) -> Part:
    """The whole view and 1 x 2 tiles, of which 10 rows of 16 are left."""
    pixels = torch.randn(1, 3, 3, 40, 40, generator=generator)
    return [IMAGE] * (100 + 10 * 17), {"pixel_values": pixels, "image_sizes": torch.tensor([[30, 50]])}


def perception_image(generator) -> Part:
    return [IMAGE] * 25, {"pixel_values": torch.randn(1, 1, 3, 40, 40, generator=generator)}


def internvl_clip(frames: int, generator) -> Part:
    ids = [token for frame in range(frames) for token in [NEWLINE, 3 + frame, 95, *[IMAGE] * 25, 96]]
    return ids, {"pixel_values": torch.randn(frames, 3, 40, 40, generator=generator)}


def internvl_image(generator) -> Part:
    """Two tiles and a thumbnail, one behind the other."""
    return [95, *[IMAGE] * 75, 96], {"pixel_values": torch.randn(3, 3, 40, 40, generator=generator)}


def smolvlm_clip(frames: int, generator) -> Part:
    ids = [token for frame in range(frames) for token in [NEWLINE, 3 + frame, 95, 96, *[IMAGE] * 25, 95]]
    return ids, {"pixel_values": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def smolvlm_image(generator) -> Part:
    return [95, 96, *[IMAGE] * 25, 95], {"pixel_values": torch.randn(1, 1, 3, 40, 40, generator=generator)}


def gemma3_clip(frames: int, generator) -> Part:
    return [NEWLINE, 95, *[IMAGE] * 25, 96] * frames, {"pixel_values": torch.randn(frames, 3, 40, 40, generator=generator)}


def gemma3_image(generator) -> Part:
    return gemma3_clip(1, generator)


def granite_clip(frames: int, generator) -> Part:
    """Whole views, each with its newline, on lines of their own."""
    ids = ([IMAGE] * 26 + [NEWLINE]) * frames
    pixels = torch.randn(frames, 3, 40, 40, generator=generator)
    return ids, {"pixel_values": pixels, "image_sizes": torch.tensor([[30, 50]] * frames)}


def granite_image(generator) -> Part:
    return granite_clip(1, generator)


def step_clip(frames: int, generator) -> Part:
    return [95, *[IMAGE] * 25, 96] * frames, {"pixel_values": torch.randn(frames, 3, 40, 40, generator=generator)}


def step_image(generator) -> Part:
    """A picture that is hardly wider than high has no tiles."""
    return step_clip(1, generator)


def gemma4_places(pictures: int, rows: int, padding: int = 0) -> torch.Tensor:
    """Column and row of `rows` x 10 patches, and of as many as `padding` that are none."""
    places = torch.stack(torch.meshgrid(torch.arange(10), torch.arange(rows), indexing="xy"), dim=-1).flatten(0, 1)
    return torch.cat([places, torch.full((padding, 2), -1)]).expand(pictures, -1, -1)


def gemma4_clip(frames: int, generator) -> Part:
    """Two words for the time before each frame. Before transformers 5.19 the videos had an axis of their own."""
    ids = [token for frame in range(frames) for token in [3 + frame, 50, 95, *[VIDEO] * 25, 96]]
    patches, places = torch.randn(frames, 100, 48, generator=generator), gemma4_places(frames, 10)
    if not ONE_AXIS:
        return ids, {"pixel_values_videos": patches[None], "video_position_ids": places[None]}
    return ids, {"pixel_values_videos": patches, "video_position_ids": places, "num_frames_per_video": torch.tensor([frames])}


def gemma4_image(generator) -> Part:
    """4 x 5 tokens, padded to 5 x 5."""
    pixels = torch.randn(1, 100, 48, generator=generator)
    return [95, *[IMAGE] * 20, 96], {"pixel_values": pixels, "image_position_ids": gemma4_places(1, 8, 20)}


def qwen_clip(frames: int, generator) -> Part:
    steps = -(-frames // 2)
    patches = torch.randn(steps * 140, 96, generator=generator)
    sizes = torch.tensor([[steps, 10, 14]])
    return [95, *[VIDEO] * (steps * 35), 96], {"pixel_values_videos": patches, "video_grid_thw": sizes}


def omni_clip(frames: int, generator) -> Part:
    """As `qwen_clip`, with the seconds of a step."""
    ids, inputs = qwen_clip(frames, generator)
    return ids, {**inputs, "video_second_per_grid": torch.tensor([2.0])}


def timed_clip(frames: int, generator) -> Part:
    """As `qwen_clip`, with two words for the time before each step, and markers around it."""
    ids, inputs = qwen_clip(frames, generator)
    steps = int(inputs["video_grid_thw"][0, 0])
    return [95, *(token for step in range(steps) for token in [3 + step, 50, 95, *[VIDEO] * 35, 96]), 96], inputs


def timed_words(frames: int) -> int:
    return 2 + 4 * -(-frames // 2)


def qwen_image(generator) -> Part:
    """Of a size of its own: 3 x 4, 3 x 5 or 3 x 6 tokens."""
    columns = int(torch.randint(4, 7, (1,), generator=generator))
    patches = torch.randn(12 * columns, 96, generator=generator)
    sizes = torch.tensor([[1, 6, 2 * columns]])
    return [95, *[IMAGE] * (3 * columns), 96], {"pixel_values": patches, "image_grid_thw": sizes}


def video_llama_clip(frames: int, generator) -> Part:
    """Frames of 5 x 7 tokens, each behind two words for its time and with a comma between them."""
    ids = [token for frame in range(frames) for token in [NEWLINE, 3 + frame, *[VIDEO] * 35]]
    patches = torch.randn(frames * 140, 48, generator=generator)
    return ids, {"pixel_values_videos": patches, "video_grid_thw": torch.tensor([[frames, 10, 14]]), "video_merge_sizes": torch.tensor([2])}


def video_llama_image(generator) -> Part:
    """Of a size of its own: 3 x 4, 3 x 5 or 3 x 6 tokens, each one patch."""
    columns = int(torch.randint(4, 7, (1,), generator=generator))
    patches, sizes = torch.randn(3 * columns, 48, generator=generator), torch.tensor([[1, 3, columns]])
    return [IMAGE] * (3 * columns), {"pixel_values": patches, "image_grid_thw": sizes, "image_merge_sizes": torch.tensor([1])}


def minicpm_clip(frames: int, generator) -> Part:
    """A word for the clip's number, and frames of 5 x 7 tokens between markers."""
    ids = [3, *(token for _ in range(frames) for token in [95, *[VIDEO] * 35, 96])]
    patches = torch.randn(1, 3, 4, frames * 560 * 4, generator=generator)
    return ids, {"pixel_values_videos": patches, "target_sizes_videos": torch.tensor([[20, 28]] * frames)}


def minicpm_image(generator) -> Part:
    """Of a size of its own: 3 x 4, 3 x 5 or 3 x 6 tokens."""
    columns = int(torch.randint(4, 7, (1,), generator=generator))
    patches = torch.randn(1, 3, 4, 48 * columns * 4, generator=generator)
    return [95, *[IMAGE] * (3 * columns), 96], {"pixel_values": patches, "target_sizes": torch.tensor([[12, 4 * columns]])}


def glm_clip(frames: int, generator) -> Part:
    """The steps as images of two frames each, with one word for the time behind each."""
    ids, inputs = qwen_clip(frames, generator)
    [(steps, *size)] = inputs["video_grid_thw"].tolist()
    ids = [92, *(token for step in range(steps) for token in [95, *[IMAGE] * 35, 96, 3 + step]), 93]
    return ids, {"pixel_values": inputs["pixel_values_videos"], "image_grid_thw": torch.tensor([[1, *size]] * steps)}


def molmo_clip(frames: int, generator) -> Part:
    """Each frame behind a word for its time. The windows of 3 x 3 patches count through all frames."""
    ids = [token for frame in range(frames) for token in [3 + frame, 95, *[IMAGE] * 25, 96]]
    patches, grids = torch.randn(frames, 225, 48, generator=generator), torch.tensor([[frames, 5, 5]])
    return ids, {"pixel_values_videos": patches, "video_token_pooling": molmo_windows(frames, 5, 5), "video_grids": grids}


def molmo_windows(views: int, rows: int, columns: int) -> torch.Tensor:
    """The patches of each token of `views` views, which hold 3 x 3 times as many, [views · rows · columns, 9]."""
    patches = torch.arange(views * rows * columns * 9).view(views, rows, 3, columns, 3)
    return patches.transpose(2, 3).reshape(-1, 9)


def molmo_image(generator) -> Part:
    """The whole view, and all tiles together, here one, without the tokens that part the rows."""
    ids = [91, *[IMAGE] * 25, 96, 95, *[IMAGE] * 25, 96]
    patches, grids = torch.randn(2, 225, 48, generator=generator), torch.tensor([[5, 5, 5, 5]])
    return ids, {"pixel_values": patches, "image_token_pooling": molmo_windows(2, 5, 5), "image_grids": grids}


def words(count: int, generator) -> Part:
    return torch.randint(3, 90, (count,), generator=generator).tolist(), {}
