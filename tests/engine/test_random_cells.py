"""Random small cells from the operations that steps are made of, on native code against eager."""

from collections import OrderedDict
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from carousel.cell import Cell
from carousel.engine import scan_function
from carousel.engine.native import compiled
from comparison import agree, everything

ONE = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "exp": lambda a: torch.exp(-a.abs()),
    "log": lambda a: torch.log(a.abs() + 1),
    "root": lambda a: torch.sqrt(a * a + 0.1),
    "inverse": lambda a: 1 / (a * a + 1),
    "relu": F.relu,
    "clamp": lambda a: a.clamp(-0.7, 0.6),
    "sin": torch.sin,
    "softmax": lambda a: torch.softmax(a, -1),
    "norm": lambda a: F.layer_norm(a, a.shape[-1:]),
    "mean": lambda a: a - a.mean(),
    "largest": lambda a: a * a.amax(),
    "cumsum": lambda a: torch.cumsum(a, -1) / a.shape[-1],
    "sort": lambda a: torch.sort(a)[0],
    "roll": lambda a: a.roll(1, -1),
    "flip": lambda a: a.flip(-1),
    "halves": lambda a: torch.cat([a[a.shape[-1] // 2 :], 2 * a[: a.shape[-1] // 2]]),
    "every other": lambda a: torch.cat([a[::2], a[1::2]]),
    "shifted": lambda a: F.pad(a, (1, 0))[:-1],
    "outer": lambda a: torch.outer(a, torch.tanh(a)).sum(0),
    "constant": lambda a: a * torch.arange(a.shape[-1]).to(a),
}
TWO = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "larger": torch.maximum,
    "where": lambda a, b: torch.where(a > b, a, 0.5 * b),
    "dot": lambda a, b: a * torch.dot(a, b),
    "outer": lambda a, b: torch.outer(a, b).softmax(1) @ a,
    "gather": lambda a, b: a.gather(0, torch.argsort(b, stable=True)),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
}


class Random(Cell):
    """Two states; the step is a list of operations on what has been made so far, ending in squashed values."""

    def __init__(self, size, recipe, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.size, self.recipe = size, recipe
        self.input_size = self.output_size = size
        like = {"generator": generator, "dtype": torch.float64}
        self.W = nn.ParameterList([nn.Parameter(torch.randn(size, size, **like) / size**0.5) for _ in range(3)])
        self.b = nn.Parameter(torch.randn(size, **like))

    def initial_state(self):
        return (self.b.new_zeros(self.size), self.b.new_zeros(self.size))

    def step(self, x, state):
        values = [x, *state, self.b]
        for name, first, second in self.recipe:
            a, b = values[-1 - first % len(values)], values[-1 - second % len(values)]
            if name in ONE:
                values.append(ONE[name](a))
            elif name in TWO:
                values.append(TWO[name](a, b))
            else:
                values.append(self.W[second % 3] @ a)
        return values[-1], (torch.tanh(values[-1]), torch.tanh(values[-2] + state[0]))


recipes = st.lists(
    st.tuples(st.sampled_from(["matrix", "matrix", *ONE, *TWO]), st.integers(0, 7), st.integers(0, 7)), min_size=2, max_size=8
)


def check(size, recipe, B, lengths, seed):
    cell = Random(size, tuple(recipe), seed)
    T = 4
    x = torch.randn(T, B, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    lengths = torch.tensor([(3 * b + seed) % (T + 1) for b in range(B)]) if lengths else None
    expected = everything(cell, "eager", x, lengths)
    agree(everything(cell, "native", x, lengths), expected)


arguments = {
    "size": st.sampled_from([1, 2, 3, 5, 8, 17]),
    "recipe": recipes,
    "B": st.sampled_from([1, 3, 7]),
    "lengths": st.booleans(),
    "seed": st.integers(0, 99),
}
LIMITS = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=30, derandomize=True, **LIMITS)
@given(**arguments)
def test_random_cells_agree_with_eager(size, recipe, B, lengths, seed):
    check(size, recipe, B, lengths, seed)


@pytest.mark.long
@pytest.mark.parametrize("width", [4, 8, 16])
@settings(max_examples=200, **LIMITS)
@given(**arguments)
def test_many_random_cells_agree_with_eager(width, size, recipe, B, lengths, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "compile_loop", partial(compiled.compile_loop, vector_width=width))
        patch.setattr(scan_function, "_cache", OrderedDict())  # code of other widths stands in the other one
        check(size, recipe, B, lengths, seed)
