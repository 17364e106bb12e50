"""Clustering by density peaks, against plain loops over the rule."""

import math

import pytest
import torch

from aim.kernels.density_peaks import density_peaks, density_peaks_flops, nearest_centres


def peaks_by_loops(rows: list[list[float]], neighbours: int, count: int) -> tuple[list[int], list[int]]:
    """The centres, best first, and for each token the number of the centre that it goes to."""
    amount, channels = len(rows), len(rows[0])
    far = [[math.dist(one, other) / math.sqrt(channels) for other in rows] for one in rows]
    density = []
    for row in far:
        nearest = sorted(row)[:neighbours]
        density.append(math.exp(-sum(distance**2 for distance in nearest) / len(nearest)) + 1e-6 * (1 - len(density) / amount))
    scores = []
    for one in range(amount):
        denser = [far[one][other] for other in range(amount) if (density[other], -other) > (density[one], -one)]
        scores.append(density[one] * (min(denser) if denser else max(max(row) for row in far)))
    centres = sorted(range(amount), key=lambda token: (-scores[token], token))[:count]
    to = [centres.index(token) if token in centres else min(range(count), key=lambda c: far[token][centres[c]]) for token in range(amount)]
    return centres, to


@pytest.mark.parametrize(("amount", "neighbours", "count"), [(9, 1, 1), (12, 2, 3), (20, 7, 20), (5, 7, 4), (1, 3, 1)])
def test_centres_and_clusters_are_those_of_plain_loops(amount, neighbours, count):
    tokens = torch.randn(3, amount, 6, generator=torch.Generator().manual_seed(amount)) + 5
    centres, distances = density_peaks(tokens, neighbours, count)
    to = nearest_centres(distances, centres)
    for number in range(3):
        alone, own_distances = density_peaks(tokens[number], neighbours, count)
        assert centres[number].tolist() == alone.tolist()
        assert to[number].tolist() == nearest_centres(own_distances, alone).tolist()
        assert (alone.tolist(), to[number].tolist()) == peaks_by_loops(tokens[number].double().tolist(), neighbours, count)


def test_equal_tokens_are_ranked_by_their_index():
    centres, distances = density_peaks(torch.ones(4, 3), 2, 2)
    assert centres.tolist() == [0, 1] and nearest_centres(distances, centres).tolist() == [0, 1, 0, 0]


def test_tokens_far_from_all_others_are_centres_by_their_distance():
    places = torch.tensor([0.0, 1.0, 2.0, 900.0, 5000.0])[:, None]  # the last two have no density but what falls along the tokens
    assert density_peaks(places, 2, 4)[0].tolist() == [0, 1, 2, 4]


def test_the_cost_of_clustering_grows_with_the_square_of_the_tokens():
    assert density_peaks_flops(10, 6) == 2 * 100 * 6 + 4 * 10 * 6
