"""explain: the plan of a call in words."""

import pytest
import torch
from torch import nn

import carousel
from carousel.cell import Cell, Stack
from carousel.cells import GRU, LSTM


@pytest.fixture
def lstm():
    return LSTM(3, 4)


def test_it_names_loops_products_and_what_is_kept(lstm):
    text = carousel.explain(lstm, torch.randn(5, 2, 3))
    assert "LSTM runs on backend native" in text
    assert text.count("a native loop") == 2
    assert "matvec(W, x0" in text
    assert "lstm.py:" in text
    # Per row and step 4 gates, tanh(c), h and c, 4 units each, in float32.
    assert "kept for backward: 112 bytes a row and step, 1120 in this call" in text
    assert "112 bytes a row and step, 448 in this call" in carousel.explain(lstm, torch.randn(5, 2, 3), lengths=[3, 1])


def test_nothing_is_kept_without_gradients(lstm):
    with torch.no_grad():
        text = carousel.explain(lstm, torch.randn(5, 2, 3))
    assert "kept for backward: 0 bytes" in text
    assert "from the last step" not in text


def test_a_stack_has_a_loop_for_each_layer_and_a_masked_weight_is_made_once():
    text = carousel.explain(Stack(LSTM(3, 4), GRU(4, 5), readout=nn.Linear(5, 2)), torch.randn(5, 2, 3))
    assert text.count("a native loop") == 4
    assert "moved on by one step" not in text


def test_the_unsupported_operation_is_named():
    class Bessel(Cell):
        input_size = output_size = 2

        def initial_state(self):
            return torch.zeros(2)

        def step(self, x, h):
            h = torch.special.bessel_j0(x + h)
            return h, h

    text = carousel.explain(Bessel(), torch.randn(5, 2, 2))
    assert "Bessel runs on backend eager" in text
    assert "aten.special_bessel_j0.default" in text
    assert "test_explain.py:" in text


def test_the_generated_code_on_request(lstm):
    text = carousel.explain(lstm, torch.randn(5, 2, 3), code=True)
    assert "define" in text
    assert "define" not in carousel.explain(lstm, torch.randn(5, 2, 3))
