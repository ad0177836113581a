"""Shapley values by their definition, and KernelSHAP's regression under its constraint."""

from itertools import combinations
from math import comb

import torch


def shapley(game, players):
    """φ_i = Σ_S |S|! (K − |S| − 1)! / K! (v(S ∪ i) − v(S)); `game`: players to a number."""
    values = []
    for player in range(players):
        others = [each for each in range(players) if each != player]
        total = 0.0
        for size in range(players):
            for subset in combinations(others, size):
                gain = game({*subset, player}) - game(set(subset))
                total += gain / (players * comb(players - 1, size))
        values.append(total)
    return torch.tensor(values, dtype=torch.float64)


def regression(shown, scores, full, empty):
    """argmin Σ (f − f(∅) − φ·z)² under Σ φ = f(x) − f(∅), by its multiplier; z [n, K], f [n]."""
    count = shown.shape[1]
    ones = torch.ones(count, 1, dtype=shown.dtype)
    left = torch.cat(
        [
            torch.cat([2 * shown.T @ shown, ones], dim=1),
            torch.cat([ones.T, torch.zeros(1, 1, dtype=shown.dtype)], dim=1),
        ]
    )
    right = torch.cat([2 * shown.T @ (scores - empty), (full - empty).reshape(1)])
    return torch.linalg.solve(left, right)[:count]
