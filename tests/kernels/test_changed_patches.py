"""Which patches changed in pixels, against a loop over patches that remembers each one."""

import torch

from aim.kernels.changed_patches import change_in_pixels_flops, changed_patches, last_places


def test_a_patch_is_compared_with_itself_as_it_was_last_computed():
    torch.manual_seed(0)
    pixels, deviations = torch.randn(1, 3, 8, 11).repeat(6, 1, 1, 1), torch.tensor([0.2, 0.3, 0.5])
    pixels = pixels + torch.randn(6, 1, 1, 1) * torch.linspace(0, 0.3, 8)[:, None]
    found = changed_patches(pixels, 4, 0.04, deviations)
    assert found.shape == (6, 2 * 2) and 0 < found[1:].sum() < found[1:].numel()
    for patch in range(4):
        row, column = 4 * (patch // 2), 4 * (patch % 2)
        known = None
        for frame in range(6):
            colours = pixels[frame, :, row : row + 4, column : column + 4] * deviations[:, None, None]
            changed = known is None or float((colours - known).abs().mean()) > 0.04
            assert bool(found[frame, patch]) == changed
            known = colours if changed else known


def test_slow_changes_add_up():
    pixels = torch.arange(8).float()[:, None, None, None].expand(8, 1, 2, 2)
    assert changed_patches(pixels, 2, 2.5, torch.ones(1))[:, 0].nonzero().flatten().tolist() == [0, 3, 6]


def test_places_are_those_of_the_latest_frame_that_computed_a_token():
    computed = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]]).bool()
    places = torch.arange(12).view(4, 3)
    assert last_places(computed, places).tolist() == [[0, 1, 2], [0, 4, 2], [0, 4, 2], [9, 4, 2]]


def test_comparing_costs_three_operations_a_colour_value_behind_the_first_frame():
    assert change_in_pixels_flops(48, 5, 10) == 3 * 48 * 4 * 10
