"""What a step reads beside its arguments is seen when it changes, or refused by name; what it does beside its results, too."""

import datetime
import random
import sys
import time
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel import Cell, InputError, scan
from carousel.cells import GRU

BACKENDS = ("native", "eager")

TAU = 2.0
TABLE = [2.0, 3.0]
NAMED = {"tau": 2.0}
ARRAY = np.array([2.0])
CONFIG = SimpleNamespace(tau=2.0, inner=SimpleNamespace(tau=2.0))
ACTIVATION = nn.LeakyReLU(0.5)
GENERATOR = np.random.default_rng(0)
COUNTER = iter(range(100))
COUNT = 0
LOG = []
OUTSIDE = torch.full((3,), 2.0)

settings = ModuleType("settings_of_a_user")
settings.tau = 2.0
sys.modules["settings_of_a_user"] = settings


@dataclass
class Options:
    tau: float = 2.0


OPTIONS = Options()


class Shared:
    tau = 2.0

    @staticmethod
    def scaled(x):
        return x * TAU


class Holder:
    def __init__(self):
        self.tau = 2.0

    def get(self):
        return self.tau


HOLDER = Holder()


def helper(x):
    return x * TAU


def deep(x):
    return (lambda v: helper(v))(x)


def doubled(function):
    @wraps(function)
    def wrapper(x):
        return function(x) * 1

    return wrapper


@lru_cache
def kept():
    return TAU


class Base(carousel.Cell):
    """h = f(x), with f whatever a test makes it."""

    input_size = output_size = 3
    table: ClassVar = [2.0]

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.eye(3))
        self.register_buffer("n", torch.zeros(()))
        self.t, self.log, self.named = 0, [], {}

    def initial_state(self):
        return self.W.new_zeros(3)

    def step(self, x, h):
        return self.f(x), h


def cell_of(f):
    return type("Own", (Base,), {"f": f})()


def first(cell, backend):
    """The first number of the output for inputs of one."""
    return carousel.scan(cell, torch.ones(2, 1, 3), backend=backend)[0][0, 0, 0].item()


def variable():
    """A cell whose step reads a variable around it, and how that is set."""
    tau = 2.0

    def f(self, x):
        return x * tau

    def change(value):
        nonlocal tau
        tau = value

    return cell_of(f), change


def setter(space, name):
    return lambda value: space.__setitem__(name, value) if isinstance(space, (dict, list)) else setattr(space, name, value)


THIS = sys.modules[__name__]
READS = {
    "a global": (lambda self, x: x * TAU, setter(globals(), "TAU")),
    "a helper's global": (lambda self, x: helper(x), setter(globals(), "TAU")),
    "a helper's helper": (lambda self, x: deep(x), setter(globals(), "TAU")),
    "in a comprehension": (lambda self, x: sum([x * TAU for _ in range(1)]), setter(globals(), "TAU")),
    "a static method": (lambda self, x: Shared.scaled(x), setter(globals(), "TAU")),
    "behind a decorator": (lambda self, x: doubled(helper)(x), setter(globals(), "TAU")),
    "a partial": (lambda self, x: partial(helper)(x), setter(globals(), "TAU")),
    "a global list": (lambda self, x: x * TABLE[0], setter(TABLE, 0)),
    "a global dict": (lambda self, x: x * NAMED["tau"], setter(NAMED, "tau")),
    "an array": (lambda self, x: x * float(ARRAY[0]), lambda value: ARRAY.__setitem__(0, value)),
    "another module": (lambda self, x: x * settings.tau, setter(settings, "tau")),
    "a class": (lambda self, x: x * Shared.tau, setter(Shared, "tau")),
    "a namespace": (lambda self, x: x * CONFIG.inner.tau, setter(CONFIG.inner, "tau")),
    "an object": (lambda self, x: x * HOLDER.tau, setter(HOLDER, "tau")),
    "a dataclass": (lambda self, x: x * OPTIONS.tau, setter(OPTIONS, "tau")),
    "a list of the class": (lambda self, x: x * self.table[0], setter(Base.table, 0)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", READS)
def test_a_change_outside_of_the_cell_is_seen(case, backend):
    f, change = READS[case]
    cell = cell_of(f)
    try:
        assert first(cell, backend) == 2
        assert first(cell, backend) == 2
        change(5.0)
        assert first(cell, backend) == 5
        assert first(cell_of(f), backend) == 5
    finally:
        change(2.0)
    assert first(cell, backend) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_variable_of_an_enclosing_function_is_seen(backend):
    cell, change = variable()
    assert first(cell, backend) == 2
    change(5.0)
    assert first(cell, backend) == 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_defaults_and_helpers_replaced_are_seen(backend, monkeypatch):
    def f(self, x, tau=2.0):
        return helper(x) * tau

    cell = cell_of(f)
    assert first(cell, backend) == 4
    f.__defaults__ = (3.0,)
    assert first(cell, backend) == 6
    monkeypatch.setitem(globals(), "helper", lambda x: x * 7)
    assert first(cell, backend) == 21


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_method_that_only_a_subclass_has_is_read(backend, monkeypatch):
    class Above(Base):
        def f(self, x):
            return self.scaled(x)

        @property
        def factor(self):
            return TAU

        def scaled(self, x):
            return getattr(self, "_" + "inner")(x) * self.factor

        def _inner(self, x):
            return x * TAU

    cell = Above()
    assert first(cell, backend) == 4
    monkeypatch.setitem(globals(), "TAU", 3.0)
    assert first(cell, backend) == 9


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_library_that_calls_what_a_user_redefines(backend, monkeypatch):
    class Scaled(nn.Tanhshrink):
        def forward(self, x):
            return x * TAU

    stack = carousel.Stack(GRU(3, 3), readout=Scaled())
    before = first(stack, backend)
    monkeypatch.setitem(globals(), "TAU", 3.0)
    assert first(stack, backend) == pytest.approx(before * 1.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_step_may_read_costs_no_refusal(backend):
    def f(self, x):
        return ACTIVATION(torch.nn.functional.relu(x)) * np.pi * kept() * isinstance(x, torch.Tensor)

    assert first(cell_of(f), backend) == pytest.approx(2 * np.pi)


def counts_globally(self, x):
    global COUNT
    COUNT += 1
    return x * COUNT


def logs(self, x):
    LOG.append(1)
    return x * len(LOG)


def counts(self, x):
    self.t += 1
    return x * 0.5**self.t


def logs_in_itself(self, x):
    self.log.append(x)
    return x


def names(self, x):
    self.named["a"] = 1
    return x


def adds_an_attribute(self, x):
    self.latest = x
    return x


def replaces_a_buffer(self, x):
    self.n = self.n + 1
    return x * self.n


def counts_on_its_class(self, x):
    type(self).t = 1
    return x


def counts_in_a_default(self, x, seen=[]):  # noqa: B006
    seen.append(1)
    return x * len(seen)


def counts_on_itself(self, x):
    counts_on_itself.t = getattr(counts_on_itself, "t", 0) + 1
    return x


CHANGES = {
    counts_globally: r"changes COUNT, which counts_globally reads from outside the cell",
    logs: r"changes LOG, which logs reads",
    counts: r"changes Own\.t while it runs.*carry it in the state",
    logs_in_itself: r"changes Own\.log",
    names: r"changes Own\.named",
    adds_an_attribute: r"changes Own\.latest",
    replaces_a_buffer: r"changes n while",
    counts_on_its_class: r"changes Own\.t",
    counts_in_a_default: r"changes a default of counts_in_a_default",
    counts_on_itself: r"changes .*counts_on_itself",
}


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize("f", CHANGES, ids=lambda f: f.__name__)
def test_a_side_effect_is_refused_by_name(f, backend):
    cell = cell_of(f)
    kept_log, kept_names, n = cell.log, cell.named, cell.n
    with pytest.raises(InputError, match=CHANGES[f]):
        first(cell, backend)
    assert (cell.t, kept_log, kept_names) == (0, [], {}) or f is counts_on_its_class
    assert cell.n is n
    assert "latest" not in vars(cell)


def random_of_a_helper():
    return random.gauss(0, 1)


MOMENTS = {
    "random": (lambda self, x: x * random.random(), r"draws random numbers \(random.random\).*noise_shapes"),
    "numpy": (lambda self, x: x * np.random.rand(), r"draws random numbers \(np.random.rand\)"),
    "generator": (lambda self, x: x * GENERATOR.random(), r"draws random numbers \(GENERATOR\)"),
    "new generator": (lambda self, x: x * np.random.default_rng().random(), r"draws random numbers"),
    "helper": (lambda self, x: x * random_of_a_helper(), r"random_of_a_helper draws random numbers"),
    "time": (lambda self, x: x * time.time(), r"reads time.time, whose value would be that of one moment"),
    "date": (lambda self, x: x * datetime.datetime.now().hour, r"reads datetime.datetime.now"),
    "gradients": (lambda self, x: x if torch.is_grad_enabled() else x * 2, r"reads torch.is_grad_enabled"),
    "globals": (lambda self, x: x * globals()["TAU"], r"reads globals"),
    "iterator": (lambda self, x: x * next(COUNTER), r"COUNTER, which .* reads from outside the cell, is a range_iterator"),
    "method": (
        lambda self, x: x * HOLDER.get(),
        r"HOLDER, which .* is a Holder, .*attributes of the cell",
    ),
    "tensor": (lambda self, x: x * OUTSIDE, r"uses a tensor"),
    "tensor alone": (lambda self, x: x + OUTSIDE * 2, r"uses a tensor"),
    "sum of a tensor": (lambda self, x: x * OUTSIDE.sum(), r"uses a tensor"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", MOMENTS)
def test_what_cannot_be_seen_is_refused_by_name(case, backend):
    f, message = MOMENTS[case]
    with pytest.raises(InputError, match=message):
        first(cell_of(f), backend)


def test_random_numbers_behind_a_library_are_refused():
    cell = cell_of(lambda self, x: x * sum(__import__("random").sample([1, 2, 3, 4], 2)))
    with pytest.raises(InputError, match="random numbers"):
        first(cell, "native")


class Linear(carousel.Cell):
    input_size = output_size = 3

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def initial_state(self):
        return torch.zeros(3)

    def step(self, x, h):
        return self.linear(x), h


def halved(module, args, output):
    return output * 0.5


def scaled_input(module, args):
    return (args[0] * TAU,)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hooks_are_seen_when_they_come_and_go(backend, monkeypatch):
    cell, other = Linear(), Linear()
    assert first(cell, backend) == 1
    hook = cell.linear.register_forward_hook(halved)
    before = cell.linear.register_forward_pre_hook(scaled_input)
    assert (first(cell, backend), first(other, backend)) == (1, 1)
    monkeypatch.setitem(globals(), "TAU", 6.0)
    assert (first(cell, backend), first(other, backend)) == (3, 1)
    before.remove()
    assert first(cell, backend) == 0.5
    hook.remove()
    assert first(cell, backend) == 1
    on_the_cell = cell.register_forward_hook(lambda module, args, output: (output[0] * 4, output[1]))
    everywhere = nn.modules.module.register_module_forward_hook(
        lambda module, args, output: output * 3 if isinstance(module, nn.Linear) else None
    )
    try:
        assert (first(cell, backend), first(other, backend)) == (12, 3)
    finally:
        everywhere.remove()
    assert first(cell, backend) == 4
    on_the_cell.remove()
    assert first(cell, backend) == 1


def test_hooks_that_cannot_run_are_refused():
    cell, seen = Linear(), []
    hook = cell.linear.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    with pytest.raises(InputError, match=r"changes seen, which .* reads from outside the cell"):
        first(cell, "auto")
    hook.remove()
    cell.linear.register_full_backward_hook(lambda module, of_inputs, of_outputs: None)
    with pytest.raises(InputError, match="Linear has a backward hook, which would not run inside of a cell"):
        first(cell, "auto")


def test_a_stepper_sees_hooks_and_globals(monkeypatch):
    cell = Linear()
    stepper = carousel.Stepper(cell)
    assert stepper(torch.ones(3))[0] == 1
    cell.linear.register_forward_pre_hook(scaled_input)
    assert stepper(torch.ones(3))[0] == 2
    monkeypatch.setitem(globals(), "TAU", 7.0)
    assert stepper(torch.ones(3))[0] == 7


class Scale:
    """An object of one's own: a method reads `factor`, and `other` is nothing that could be compared."""

    def __init__(self, factor: float) -> None:
        self.factor, self.other = factor, object.__new__(Scale)

    def times(self, x: Tensor) -> Tensor:
        return self.factor * x


class Scaled(Cell):
    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.times = scale.times

    def initial_state(self) -> Tensor:
        return torch.zeros(2)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.times(x), state


@pytest.mark.parametrize("backend", ["native", "eager"])
def test_what_a_method_of_an_object_reads_is_seen_when_it_changes(backend: str) -> None:
    scale, x = Scale(2.0), torch.ones(3, 1, 2)
    cell = Scaled(scale)
    assert torch.equal(scan(cell, x, backend=backend)[0], 2 * x)
    scale.factor = 5.0
    assert torch.equal(scan(cell, x, backend=backend)[0], 5 * x)
