"""Several threads at once, from the first call on, and a child of a fork after that."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import nn as torch_nn
from torch.utils.data import DataLoader, Dataset

import carousel
from carousel import nn
from carousel.cells import GRU, LSTM
from carousel.engine import scan_function, trace
from carousel.engine.snapshot import _watched

THREADS = 16


def forget():
    """As if nothing had been captured or loaded yet; what is compiled is on disk."""
    scan_function._cache.clear()
    trace._cache.clear()
    _watched.clear()


def at_once(function):
    """What each of the threads gets from function(number), all of them let go together."""
    barrier = Barrier(THREADS)

    def run(number):
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


class Own(carousel.Cell):
    """A user's cell of several modules, one of them normed."""

    input_size = output_size = 3

    def __init__(self):
        super().__init__()
        self.linear, self.norm = torch_nn.Linear(3, 3), torch_nn.LayerNorm(3)

    def initial_state(self):
        return torch.zeros(3)

    def step(self, x, h):
        h = torch.tanh(self.norm(self.linear(x) + h))
        return h, h


def one_round(backend):
    forget()
    torch.manual_seed(0)
    x, layer, cell, stepper = torch.randn(4, 2, 3), nn.GRU(3, 5, num_layers=2), Own(), carousel.Stepper(LSTM(3, 17))
    state = stepper.cell.initial_state()

    def calls(number):
        y = layer(x, backend=backend)[0]
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        own = carousel.scan(cell, x, backend=backend)[0]
        y_step = stepper.step(x[0, 0], state)[0]
        alone = nn.RNN(3, 2 + number % 3)(x, backend=backend)[0]
        return [y.detach(), *gradients, own.detach(), y_step], alone.shape

    results = at_once(calls)
    forget()
    wanted, _ = calls(0)
    for number, (found, shape) in enumerate(results):
        assert shape == (4, 2, 2 + number % 3)
        for got, want in zip(found, wanted, strict=True):
            assert torch.equal(got, want)
    assert all(isinstance(parameter, torch_nn.Parameter) for parameter in (*layer.parameters(), *cell.parameters()))


@pytest.mark.parametrize("backend", ["native", "eager"])
def test_first_calls_from_many_threads(backend):
    one_round(backend)


@pytest.mark.long
def test_first_calls_from_many_threads_200_times():
    for _ in range(200):
        one_round("native")


def big_call(_=0):
    with torch.no_grad():
        return carousel.scan(BIG, torch.ones(60, 64, 8))[0][-1, 0, 0].item()


BIG = GRU(8, 32)


class Data(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor(big_call())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_after_the_parent_used_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = big_call()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(big_call, range(3)).get(timeout=60) == [wanted] * 3
        loader = DataLoader(Data(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60)
        assert torch.cat(list(loader)).tolist() == pytest.approx([wanted] * 4)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_another_thread_captures_finds_the_lock_free():
    def forked():
        child = os.fork()
        if child == 0:
            try:
                carousel.scan(GRU(2, 3), torch.ones(2, 1, 2))
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def calls(number):
        if number == 0:
            return forked()
        carousel.scan(GRU(3, number), torch.ones(2, 1, 3))
        return 0

    forget()
    assert at_once(calls) == [0] * THREADS
