from __future__ import annotations

import torch

from robcert.certify.attacks.apgd import checkpoints, logit_ratio, targeted_ratio


def test_checkpoints_are_those_of_the_paper() -> None:
    """p_1 = 0.22, then p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), times 100, rounded up."""
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)


def test_logit_ratios_by_hand() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, 0.5]])
    y, target = torch.tensor([1]), torch.tensor([2])
    assert torch.allclose(logit_ratio(logits, y), torch.tensor([(2.0 - 4.0) / (4.0 - 1.0)]))
    expected = torch.tensor([(2.0 - 4.0) / (4.0 - 0.75)])
    assert torch.allclose(targeted_ratio(logits, y, target), expected)
    shifted = 3.0 * logits + 7.0  # neither scale nor shift of the logits matters
    assert torch.allclose(logit_ratio(shifted, y), logit_ratio(logits, y))
    assert torch.allclose(targeted_ratio(shifted, y, target), targeted_ratio(logits, y, target))


def test_two_classes_fall_back_to_the_margin() -> None:
    logits, y = torch.tensor([[1.0, 4.0]]), torch.tensor([1])
    assert logit_ratio(logits, y).item() == -3.0
    assert targeted_ratio(logits, y, torch.tensor([0])).item() == -3.0
