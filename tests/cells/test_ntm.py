"""The Neural Turing Machine against its equations, its starts, and that nothing makes it NaN."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import carousel
from carousel.cells import NTM
from carousel.cells.ntm import EPSILON
from carousel.errors import InputError
from equations import check_equations, parameter_count, sigmoid

I, O, H, N, M = 3, 2, 4, 5, 3


def softmax(a):
    return np.exp(a) / np.exp(a).sum()


def softplus(a):
    return np.log1p(np.exp(a))


def weighting(cell, parameters, memory, before):
    """One head's weighting from its parameters, entry by entry (equations 5-9)."""
    k, beta, g, s, gamma = np.split(parameters, np.cumsum(cell.address_sizes)[:-1])
    k, beta, g, s, gamma = np.tanh(k), softplus(beta), sigmoid(g), softmax(s), 1 + softplus(gamma)
    K = [k @ row / np.sqrt((k @ k) * (row @ row) + EPSILON) for row in memory]
    w_c = softmax(beta * np.array(K))
    w_g = g * w_c + (1 - g) * before
    shifts = range(-cell.shift_range, cell.shift_range + 1)
    w_s = np.array([sum(s_j * w_g[(i - j) % len(w_g)] for j, s_j in zip(shifts, s, strict=True)) for i in range(len(w_g))])
    sharp = (w_s + EPSILON) ** gamma
    return sharp / sharp.sum()


def lstm(w, name, x, h, c):
    i, f, g, o = np.split(w[f"{name}.W"] @ x + w[f"{name}.U"] @ h + w[f"{name}.b"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def equations(cell, controller, layers, learned_start):
    """One step from the paper's equations; the state's leaves are memory, reads, both weightings, then h and c of each layer."""
    address = sum(cell.address_sizes)

    def step(w, x, state):
        columns, reads, read_w, write_w, *inner = state
        memory = columns.T
        h, new_inner = np.concatenate([x, reads.flatten()]), []
        for n in range(layers):
            if controller == "lstm":
                name = f"controller.{'cell.' if learned_start else ''}cells.{n}"
                h, c = lstm(w, name, h, *inner[2 * n : 2 * n + 2])
                new_inner += [h, c]
            else:
                h = np.tanh(w[f"controller.{2 * n}.weight"] @ h + w[f"controller.{2 * n}.bias"])
        heads = (w["to_write.weight"] @ h + w["to_write.bias"]).reshape(len(write_w), -1)
        new_write_w = np.array([weighting(cell, head[:address], memory, w_) for head, w_ in zip(heads, write_w, strict=True)])
        written = memory.copy()
        for head, w_ in zip(heads, new_write_w, strict=True):
            erase = sigmoid(head[address : address + cell.M])
            for i in range(cell.N):
                written[i] = written[i] * (1 - w_[i] * erase)
        for head, w_ in zip(heads, new_write_w, strict=True):
            add = np.tanh(head[address + cell.M :])
            for i in range(cell.N):
                written[i] = written[i] + w_[i] * add
        source = memory if cell.read_first else written
        heads = (w["to_read.weight"] @ h + w["to_read.bias"]).reshape(len(read_w), -1)
        new_read_w = np.array([weighting(cell, head, source, w_) for head, w_ in zip(heads, read_w, strict=True)])
        new_reads = np.array([sum(w_[i] * source[i] for i in range(cell.N)) for w_ in new_read_w])
        y = w["readout.weight"] @ np.concatenate([h, new_reads.flatten()]) + w["readout.bias"]
        return y, [written.T, new_reads, new_read_w, new_write_w, *new_inner]

    return step


@pytest.mark.parametrize(
    ("controller", "layers", "heads", "shift_range", "read_first"),
    list(product(["lstm", "feedforward"], [1, 2], [(1, 1), (2, 3)], [0, 1, 2], [False, True])),
)
@pytest.mark.parametrize("learned_start", [False, True])
def test_equations(controller, layers, heads, shift_range, read_first, learned_start):
    read_heads, write_heads = heads
    options = {"controller": controller, "layers": layers, "shift_range": shift_range, "read_first": read_first}
    cell = NTM(
        I, O, H, N=N, M=M, read_heads=read_heads, write_heads=write_heads, learned_start=learned_start, memory="random", **options
    ).double()
    with torch.no_grad():
        for parameter in cell.parameters():  # strong heads, so that each equation tells
            parameter.uniform_(-1.5, 1.5)
    check_equations(cell, equations(cell, controller, layers, learned_start), start=cell.initial_state())


def test_the_start_is_what_was_asked_for():
    constant = NTM(I, O, H, N=N, M=M, read_heads=2).initial_state()
    assert torch.equal(constant.memory, torch.full((M, N), 1e-6))
    assert torch.equal(constant.reads, torch.zeros(2, M))
    assert torch.equal(constant.read_w, torch.tensor([[1.0, 0, 0, 0, 0]] * 2))
    assert torch.equal(constant.write_w, torch.tensor([[1.0, 0, 0, 0, 0]]))

    drawn = NTM(I, O, H, memory="random")
    assert "memory0" not in dict(drawn.named_parameters())
    assert torch.equal(drawn.initial_state().memory, drawn.memory0)
    assert 0.4 < float(drawn.memory0.std()) < 0.6

    both = NTM(I, O, H, memory="learned-random")
    assert "memory0" in dict(both.named_parameters())
    assert torch.equal(both.initial_state().memory, both.memory0.tanh())
    assert 0.4 < both.memory0.std() < 0.6

    learned = NTM(I, O, H, N=N, M=M, memory="learned", learned_start=True)
    start = learned.initial_state()
    torch.testing.assert_close(start.memory, torch.full((M, N), 1e-6))
    assert start.read_w.std() > 0
    with torch.no_grad():
        learned.memory0[1, 2] = 0.7
        learned.read_w0.copy_(torch.tensor([[0, 0, 0, 2.0, 0]]))
        learned.reads0.fill_(0.5)
        start = learned.initial_state()
    assert float(start.memory[1, 2]) == pytest.approx(np.tanh(0.7))
    assert start.read_w[0].tolist() == pytest.approx(softmax(np.array([0, 0, 0, 2.0, 0])))
    torch.testing.assert_close(start.reads, torch.full((1, M), 0.5).tanh())


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
def test_every_learned_start_gets_a_gradient(controller):
    cell = NTM(I, O, H, controller=controller, N=N, M=M, read_heads=2, memory="learned", learned_start=True).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.uniform_(-0.5, 0.5)
    outputs, _ = carousel.scan(cell, torch.randn(4, 2, I, dtype=torch.float64))
    outputs.square().sum().backward()
    for name, parameter in cell.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_parameter_counts():
    """By hand, for 9 inputs and 8 outputs: controller, heads (k 20, beta, g, s 3, gamma; e and a 20 each), readout."""
    heads = (100 + 1) * (26 + 26 + 40)
    readout = (100 + 20 + 1) * 8
    assert parameter_count(NTM(9, 8)) == 4 * 100 * (9 + 20 + 100 + 1) + heads + readout
    assert parameter_count(NTM(9, 8, controller="feedforward")) == 100 * (9 + 20 + 1) + heads + readout
    learned = NTM(9, 8, memory="learned", learned_start=True)
    assert parameter_count(learned) == parameter_count(NTM(9, 8)) + 128 * 20 + 20 + 2 * 128 + 2 * 100


def test_the_heads_can_walk_along_the_memory():
    """With no gate to the content and all weight on one shift, a sharp head moves one row a step, around the end."""
    cell = NTM(1, 1, 1, controller="feedforward", N=4, M=2).double()
    state = cell.initial_state()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        bias = torch.tensor([0.0] * 2 + [0.0, -50.0, 0.0, 0.0, 50.0, 10.0])  # k, beta, g, s of -1, 0 and 1, gamma
        cell.to_read.bias.copy_(bias)
        rows = []
        for _ in range(5):
            _, state = cell(torch.zeros(1, dtype=torch.float64), state)
            rows.append(state.read_w[0].round().tolist())
    assert [row.index(1) for row in rows] == [1, 2, 3, 0, 1]


def finite(tree):
    return all(leaf.isfinite().all() for leaf in pytree.tree_leaves(tree))


@pytest.mark.parametrize("backend", [pytest.param("eager", marks=pytest.mark.long), "native"])
@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
def test_extreme_parameters_give_numbers(controller, backend):
    """Large weights, and every head's parameter driven to its ends one after the other: outputs and states stay finite."""
    x = torch.randn(12, 3, I, generator=torch.Generator().manual_seed(0))
    for scale in (0.0, 1e2, 1e5, 1e9):
        cell = NTM(I, O, H, controller=controller, N=N, M=M, read_heads=2, write_heads=2, memory="learned", learned_start=True)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.mul_(scale)
        assert finite(carousel.scan(cell, x, return_states=True, backend=backend)), scale
    cell = NTM(I, O, H, controller=controller, N=N, M=M)
    for to_heads in (cell.to_read, cell.to_write):
        start = to_heads.bias.detach().clone()
        for n, extreme in product(range(len(start)), (-1e30, 1e30)):
            with torch.no_grad():
                to_heads.bias.copy_(start)[n] = extreme
                assert finite(carousel.scan(cell, x, return_states=True, backend=backend)), (n, extreme)
        with torch.no_grad():
            to_heads.bias.copy_(start)


@pytest.mark.parametrize("backend", ["eager", "native"])
@pytest.mark.parametrize("strong", [-1e4, 1e4])
def test_gradients_are_numbers_where_the_heads_saturate(strong, backend):
    cell = NTM(I, O, H, N=N, M=M)
    with torch.no_grad():
        cell.to_read.bias.fill_(strong)
        cell.to_write.bias.fill_(strong)
    outputs, _ = carousel.scan(cell, torch.randn(12, 3, I, generator=torch.Generator().manual_seed(0)), backend=backend)
    outputs.square().sum().backward()
    assert finite([parameter.grad for parameter in cell.parameters()])


@pytest.mark.parametrize("kind", ["read", "write"])
def test_head_biases_are_those_that_the_heads_set_out_from(kind):
    """With nothing but biases, what each head does is what they say; a tensor written in place changes the cell."""
    cell = NTM(I, O, H, N=N, M=M, read_heads=2, write_heads=3)
    with torch.no_grad():
        cell.to_read.weight.zero_()
        cell.to_write.weight.zero_()
    biases = cell.head_biases(kind)
    assert set(biases) == {"k", "beta", "g", "s", "gamma"} | ({"erase", "add"} if kind == "write" else set())
    for name, bias in biases.items():
        bias[1] = 0.3
        if name == "s":
            bias[1, 2] = 2.0
    gates = cell.gates(torch.zeros(I), cell.initial_state())
    as_used = {"k": torch.tanh, "beta": torch.nn.functional.softplus, "g": torch.sigmoid, "s": lambda s: s.softmax(0)}
    as_used |= {"gamma": lambda gamma: 1 + torch.nn.functional.softplus(gamma), "erase": torch.sigmoid, "add": torch.tanh}
    for name, bias in biases.items():
        used = gates[name if name in ("erase", "add") else f"{kind}_{name}"]
        torch.testing.assert_close(used[1], as_used[name](bias[1]))


def test_a_read_head_with_the_weights_of_what_is_added_asks_for_what_was_written():
    cell = NTM(I, O, H, N=N, M=M, read_heads=2, write_heads=3)
    for parts in (cell.head_weights, cell.head_biases):
        assert {name: len(part) for name, part in parts("read").items()} == dict.fromkeys(("k", "beta", "g", "s", "gamma"), 2)
        parts("read")["k"][1] = parts("write")["add"][2]
    gates = cell.gates(torch.randn(I), cell.initial_state())
    torch.testing.assert_close(gates["read_k"][1], gates["add"][2])
    assert not torch.allclose(gates["read_k"][0], gates["add"][2])


def test_gates_are_what_the_step_computes_from():
    cell = NTM(I, O, H, N=N, M=M, read_heads=2)
    state = cell.initial_state()
    x = torch.randn(I)
    gates, (_, after) = cell.gates(x, state), cell(x, state)
    assert torch.equal(gates["memory"], after.memory)
    assert torch.equal(gates["read_w"], after.read_w)
    assert torch.equal(gates["write_w"], after.write_w)
    assert {name: tuple(gates[name].shape) for name in ("read_k", "read_g", "read_s", "write_gamma", "erase", "add")} == {
        "read_k": (2, M),
        "read_g": (2, 1),
        "read_s": (2, 3),
        "write_gamma": (1, 1),
        "erase": (1, M),
        "add": (1, M),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"controller": "gru"}, "expected controller to be lstm or feedforward, got 'gru'"),
        ({"memory": "zero"}, "expected memory to be constant, learned, random or learned-random, got 'zero'"),
        ({"N": 4, "shift_range": 2}, r"expected shift_range in 0\.\.1 for a memory of 4 rows, got 2"),
        ({"read_heads": 0}, "expected read_heads of 1 or more, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        NTM(I, O, H, **options)
