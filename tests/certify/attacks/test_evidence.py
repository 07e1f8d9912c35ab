"""What the losses of adversarial images say, on models whose answers are known."""

from __future__ import annotations

import numpy as np
import torch
from known_functions import OneRuledOut, TwoLogits, flat_batch

from robcert.certify.attacks.evidence import loss_at
from robcert.certify.core import Norm
from robcert.certify.model.classifier import Classifier

SHAPE = (1, 1, 3)


def test_a_class_that_is_ruled_out_changes_no_column() -> None:
    """With its logit of -inf as the size of the logits, everything would count as rounding."""
    module = TwoLogits(lambda x: (x**2).sum(1))
    plain = Classifier.from_module(module, image_shape=SHAPE, num_classes=2)
    longer = Classifier.from_module(OneRuledOut(module), image_shape=SHAPE, num_classes=3)
    batch = flat_batch(torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.6, 0.2]]))
    adversarial, distance = batch.x + 0.1, torch.full((2,), 0.1)
    expected = loss_at(plain, batch, adversarial, distance, Norm.LINF)
    found = loss_at(longer, batch, adversarial, distance, Norm.LINF)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-7, err_msg=name)
    assert (found["floor"] < 1e-5).all()
    assert (found["residual"] > 0.005).all()
