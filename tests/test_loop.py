"""scan and Stepper: what they promise besides the numbers (those are the conformance table's)."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import carousel
from carousel.cell import Cell
from carousel.cells import GRU, LSTM, Elman, Window
from carousel.cells.lstm import LSTMState
from carousel.engine import BACKENDS, trace
from carousel.errors import InputError
from cell_table import Attending, Pair, SymbolAndVector, arguments, build


@pytest.fixture(params=["auto", *sorted(BACKENDS)])
def backend(request):
    return request.param


@pytest.fixture(params=["auto", "eager"])
def any_level(request):
    """The backends that work inside every transform of PyTorch; the native one refuses, see below."""
    return request.param


@pytest.fixture
def lstm():
    return build("lstm")


def x64(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def state_of(B, H=3, **kind):
    return LSTMState(torch.zeros(B, H, **{"dtype": torch.float64, **kind}), torch.zeros(B, H, dtype=torch.float64))


# Differentiation beyond one backward pass, for every backend: through it, or through eager where it must.


def test_second_derivatives(lstm, backend):
    x = x64(3, 3, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: carousel.scan(lstm, x, lengths=[3, 1, 2], backend=backend)[0], (x,))


def test_forward_mode(lstm, any_level):
    x, tangent = x64(3, 3, 2), x64(3, 3, 2)

    def outputs(x):
        return carousel.scan(lstm, x, lengths=[3, 1, 2], backend=any_level)[0]

    _, derivative = torch.func.jvp(outputs, (x,), (tangent,))
    step = 1e-6
    expected = (outputs(x + step * tangent) - outputs(x - step * tangent)) / (2 * step)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(derivative, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("transform", ["jvp", "vmap", "grad", "jacfwd"])
def test_first_traced_inside_a_transform(lstm, transform, monkeypatch):
    def total(x):
        return carousel.scan(lstm, x, lengths=[3, 1, 2], backend="eager")[0].sum()

    x = x64(3, 3, 2)
    transformed = {
        "jvp": lambda: torch.func.jvp(total, (x,), (x,))[1],
        "vmap": lambda: torch.vmap(total)(x[None]),
        "grad": lambda: torch.func.grad(total)(x),
        "jacfwd": lambda: torch.func.jacfwd(total)(x),
    }[transform]
    total(x)  # traced outside
    expected = transformed()
    monkeypatch.setattr(trace, "_cache", type(trace._cache)())
    torch.testing.assert_close(transformed(), expected)


def test_jacobians_both_ways(lstm, any_level):
    def last(x):
        return carousel.scan(lstm, x, backend=any_level)[1].h

    x = x64(3, 3, 2)
    torch.testing.assert_close(torch.func.jacrev(last)(x), torch.func.jacfwd(last)(x))


def test_vmap_over_a_scan(lstm, any_level):
    def outputs(x):
        return carousel.scan(lstm, x, lengths=[3, 0, 2], backend=any_level)[0]

    many = x64(4, 3, 3, 2)
    torch.testing.assert_close(torch.vmap(outputs)(many), torch.stack([outputs(x) for x in many]))


def test_gradients_of_one_sequence_each(lstm, any_level):
    parameters = dict(lstm.named_parameters())

    def loss(parameters, x):
        outputs, _ = torch.func.functional_call(
            Scan(lstm, any_level), {f"cell.{k}": v for k, v in parameters.items()}, (x[:, None],)
        )
        return outputs.square().sum()

    x = x64(4, 3, 2)
    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, x)
    whole = torch.autograd.grad(carousel.scan(lstm, x, backend=any_level)[0].square().sum(), list(parameters.values()))
    for name, gradient in zip(parameters, whole, strict=True):
        torch.testing.assert_close(each[name].sum(0), gradient)


def test_native_refuses_what_it_cannot_differentiate(lstm):
    x = x64(2, 3, 2)

    def outputs(x):
        return carousel.scan(lstm, x, backend="native")[0]

    with pytest.raises(InputError, match=r"'native' does not apply: .*torch.func transform"):
        torch.func.jacrev(outputs)(x)
    with pytest.raises(InputError, match=r"'native' does not apply: .*torch.func transform"):
        torch.vmap(outputs)(x[None])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(InputError, match=r"'native' does not apply: forward-mode"):
            outputs(dual)
        torch.testing.assert_close(outputs(x), carousel.scan(lstm, x, backend="eager")[0])


class Scan(nn.Module):
    """scan as a module's call, so that functional_call can put other weights under it."""

    def __init__(self, cell, backend):
        super().__init__()
        self.cell, self.backend = cell, backend

    def forward(self, x):
        return carousel.scan(self.cell, x, backend=self.backend)


def test_no_gradient_is_recorded_under_no_grad_and_inference_mode(lstm, backend):
    x = x64(3, 3, 2)
    expected = carousel.scan(lstm, x, backend=backend)[0]
    assert expected.requires_grad
    with torch.no_grad():
        assert not carousel.scan(lstm, x, backend=backend)[0].requires_grad
    with torch.inference_mode():
        outputs = carousel.scan(lstm, x, backend=backend)[0]
    assert outputs.is_inference()
    assert torch.equal(outputs, expected)


def test_first_traced_in_inference_mode_then_trained(backend):
    class Fresh(Elman):
        pass

    cell, x = Fresh(2, 3), torch.randn(3, 4, 2)
    with torch.inference_mode():
        carousel.scan(cell, x, backend=backend)
    carousel.scan(cell, x, backend=backend)[0].sum().backward()
    assert cell.U.grad.abs().sum() > 0


def test_frozen_parameters_get_no_gradient(lstm, backend):
    lstm.U.requires_grad_(False)
    carousel.scan(lstm, x64(3, 3, 2), backend=backend)[0].sum().backward()
    assert lstm.U.grad is None
    assert lstm.W.grad is not None


# Lengths, starts, trees.


def test_padding_gets_no_gradient(lstm, backend):
    x = x64(4, 3, 2)
    x[2:, 1] = float("nan")
    x.requires_grad_()
    outputs, final = carousel.scan(lstm, x, lengths=torch.tensor([4, 2, 0]), backend=backend)
    (outputs.sum() + final.c.sum()).backward()
    assert not x.grad[2:, 1].any()
    assert not x.grad[:, 2].any()
    assert x.grad[:2, 1].all()
    assert lstm.W.grad.isfinite().all()


def test_cut_anywhere_and_carried_on(lstm, backend):
    x = x64(7, 3, 2)
    whole, final = carousel.scan(lstm, x, backend=backend)
    first, state = carousel.scan(lstm, x[:3], backend=backend)
    second, carried = carousel.scan(lstm, x[3:], state, backend=backend)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(carried, final)


def test_inputs_that_do_not_lie_in_order(lstm, backend):
    batch_first = x64(3, 5, 2)
    expected, _ = carousel.scan(lstm, batch_first.transpose(0, 1).contiguous(), backend=backend)
    torch.testing.assert_close(carousel.scan(lstm, batch_first.transpose(0, 1), backend=backend)[0], expected)
    one = x64(5, 1, 2)
    expected, _ = carousel.scan(lstm, one.expand(5, 3, 2).contiguous(), backend=backend)
    torch.testing.assert_close(carousel.scan(lstm, one.expand(5, 3, 2), backend=backend)[0], expected)


def test_nothing_given_is_changed(lstm, backend):
    x, state = x64(4, 3, 2), LSTMState(x64(3, 3), x64(3, 3))
    before = pytree.tree_map(torch.clone, (x, state, dict(lstm.state_dict())))
    carousel.scan(lstm, x, state, lengths=[4, 0, 2], backend=backend)[0].sum().backward()
    after = (x, state, dict(lstm.state_dict()))
    assert all(torch.equal(old, new) for old, new in zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True))


def test_trees_and_an_integer_index(backend):
    cell = SymbolAndVector()
    symbol, x = torch.randint(5, (4, 3)), torch.randn(4, 3, 2)
    outputs, _ = carousel.scan(cell, Pair(symbol, x), backend=backend)
    assert isinstance(outputs, Pair)
    assert torch.equal(outputs.symbol, symbol + 1)
    outputs.x[:, 0].sum().backward()
    used = torch.zeros(5, dtype=torch.bool)
    used[symbol[:, 0]] = True
    assert torch.equal(cell.E.grad.abs().sum(1) > 0, used)


def test_the_start_may_be_learned(backend):
    cell = SymbolAndVector()
    _, final = carousel.scan(cell, Pair(torch.zeros(2, 3, dtype=torch.long), torch.randn(2, 3, 2)), backend=backend)
    final["h"].sum().backward()
    assert cell.h0.grad.abs().sum() > 0


def test_no_steps_give_the_state_back(lstm, backend):
    state = LSTMState(x64(3, 3), x64(3, 3))
    outputs, final, states = carousel.scan(lstm, x64(0, 3, 2), state, return_states=True, backend=backend)
    assert outputs.shape == (0, 3, 3)
    assert states.c.shape == (0, 3, 3)
    torch.testing.assert_close(final, state)


# Noise.


def test_noise_comes_from_the_generator_alone(backend):
    cell, x = build("lstm-zoneout"), x64(5, 3, 2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, _ = carousel.scan(cell, x, generator=torch.Generator().manual_seed(3), backend=backend)
    assert torch.equal(before, torch.get_rng_state())
    again, _ = carousel.scan(cell, x, generator=torch.Generator().manual_seed(3), backend=backend)
    assert torch.equal(first, again)


def test_without_a_generator_torchs_default_is_used(backend):
    cell, x = build("lstm-zoneout"), x64(5, 3, 2)
    torch.manual_seed(0)
    first, second = (carousel.scan(cell, x, backend=backend)[0] for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(first, carousel.scan(cell, x, backend=backend)[0])
    assert not torch.equal(first, second)


def test_a_draw_of_the_sequence_stays_and_one_of_the_step_changes(backend):
    class Noisy(Cell):
        input_size = output_size = 1

        def initial_state(self):
            return torch.zeros(1)

        def noise_shapes(self):
            return {"step": ("step", (1,)), "sequence": ("sequence", (1,))}

        def step(self, x, state, *, noise=None):
            y = torch.cat([noise["step"], noise["sequence"]]) if noise else torch.cat([x, x])
            return y, state

    cell = Noisy()
    outputs, _ = carousel.scan(cell, torch.zeros(200, 3, 1), backend=backend)
    step, sequence = outputs.unbind(-1)
    assert len(step.unique()) == step.numel()
    assert torch.equal(sequence, sequence[:1].expand_as(sequence))
    assert len(sequence[0].unique()) == 3
    assert outputs.min() >= 0
    assert outputs.max() < 1
    assert 0.4 < step.mean() < 0.6
    assert not carousel.scan(cell.eval(), torch.zeros(2, 3, 1), backend=backend)[0].any()


def test_noise_of_another_kind_is_refused():
    cell = Window(0)
    cell.noise_shapes = lambda: {"mask": ("often", (1,))}
    with pytest.raises(InputError, match="expected Window's noise 'mask' drawn each 'step' or 'sequence', got 'often'"):
        carousel.scan(cell, torch.ones(2, 3, 1))


# Devices.


def test_shapes_without_numbers():
    outputs, final = carousel.scan(LSTM(2, 3, device="meta"), torch.empty(4, 5, 2, device="meta"), lengths=[1, 2, 3, 4, 0])
    assert outputs.device.type == final.c.device.type == "meta"
    assert outputs.shape == (4, 5, 3)


# What is refused, and in which words.


class Two(NamedTuple):
    a: Tensor
    b: Tensor


SCAN_ERRORS = {
    "a string": ({"inputs": "abc"}, r"expected inputs to be a tensor \(T, B, 2\) or a tree of them, got str"),
    "nothing": ({"inputs": []}, r"expected inputs to be a tensor \(T, B, 2\) or a tree of them, got list"),
    "one axis": ({"inputs": torch.ones(3)}, r"all lead with the same \(T, B\), got \(3,\)"),
    "other axes": (
        {"inputs": Two(torch.ones(4, 3, 1), torch.ones(4, 2, 1))},
        r"all lead with the same \(T, B\), got \(4, 3, 1\), \(4, 2, 1\)",
    ),
    "a tree": ({"inputs": Two(torch.ones(4, 3), torch.ones(4, 3))}, r"expected inputs \(T, B, 2\) for LSTM, got Two"),
    "input size": ({"inputs": torch.ones(4, 3, 5)}, r"expected inputs \(T, B, 2\) for LSTM, got \(4, 3, 5\)"),
    "input dtype": ({"inputs": torch.ones(4, 3, 2)}, r"inputs of dtype torch.float64, as the cell's, got torch.float32"),
    "integers": ({"inputs": torch.ones(4, 3, 2).long()}, r"inputs of dtype torch.float64, as the cell's, got torch.int64"),
    "device": ({"inputs": torch.ones(4, 3, 2, device="meta")}, r"inputs on cpu, where the cell is, got meta"),
    "state structure": (
        {"state": torch.zeros(3, 3)},
        r"expected a state of LSTM built as LSTMState\(h=tensor, c=tensor\), got tensor$",
    ),
    "state size": (
        {"state": state_of(2)},
        r"expected state.h of LSTM \(3, 3\) torch.float64 on cpu, got \(2, 3\) torch.float64 on cpu",
    ),
    "state dtype": ({"state": state_of(3, dtype=torch.float32)}, r"state.h of LSTM .* got \(3, 3\) torch.float32 on cpu"),
    "state device": ({"state": state_of(3, device="meta")}, r"state.h of LSTM .* got \(3, 3\) torch.float64 on meta"),
    "state of numbers": ({"state": LSTMState(0, 0)}, r"expected state.h of LSTM to be a tensor \(3, 3\), got int"),
    "context": ({"context": torch.ones(3)}, r"expected no context, LSTM.step takes none"),
    "lengths' size": ({"lengths": [1, 2]}, r"expected lengths \(3,\) of integers, got \(2,\) torch.int64"),
    "lengths' dtype": ({"lengths": torch.ones(3)}, r"expected lengths \(3,\) of integers, got \(3,\) torch.float32"),
    "lengths of bools": ({"lengths": [True, False, True]}, r"expected lengths \(3,\) of integers, got \(3,\) torch.bool"),
    "lengths' range": ({"lengths": [1, 2, 9]}, r"expected lengths in 0..T = 4, got 1..9"),
    "negative lengths": ({"lengths": [1, -2, 3]}, r"expected lengths in 0..T = 4, got -2..3"),
    "lengths in words": ({"lengths": "abc"}, r"expected lengths \(3,\) of integers, got 'abc'"),
    "backend": ({"backend": "quick"}, r"unknown backend 'quick', expected one of: auto, eager"),
}


@pytest.mark.parametrize("case", SCAN_ERRORS)
def test_scan_refuses(case, lstm):
    given, message = SCAN_ERRORS[case]
    with pytest.raises(InputError, match=f"scan: .*{message}") as error:
        carousel.scan(lstm, **{"inputs": torch.ones(4, 3, 2, dtype=torch.float64), **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (torch.ones(2, 4, 3), r"expected context to lead with B = 3, got shape \(2, 4, 3\)"),
        (torch.tensor(1.0), r"expected context to lead with B = 3, got shape \(\)"),
        ("keys", r"expected context to be a tensor \(B, ...\), got str"),
    ],
)
def test_scan_refuses_a_context(context, message):
    with pytest.raises(InputError, match=message):
        carousel.scan(Attending(), torch.ones(4, 3, 2), context=context)


def test_scan_refuses_what_is_no_cell():
    with pytest.raises(InputError, match=r"scan: expected a carousel.Cell, got LSTM"):
        carousel.scan(nn.LSTM(2, 3), torch.ones(4, 3, 2))


# Stepper.


def test_stepper_carries_its_state_and_starts_again():
    cell, x = GRU(2, 3), torch.randn(5, 2)
    stepper = carousel.Stepper(cell)
    first = [stepper(step) for step in x]
    torch.testing.assert_close(torch.stack(first), carousel.scan(cell, x[:, None])[0][:, 0].detach())
    assert not first[0].requires_grad
    kept = stepper.state
    after = stepper(x[0])
    stepper.state = kept
    assert torch.equal(stepper(x[0]), after)
    stepper.state = None
    assert torch.equal(stepper(x[0]), first[0])


def test_stepper_takes_no_noise_even_in_training():
    cell = build("lstm-zoneout")
    x = x64(2)
    trained, evaluated = carousel.Stepper(cell)(x), carousel.Stepper(build("lstm-zoneout").eval())(x)
    assert torch.equal(trained, evaluated)


def test_step_keeps_nothing():
    stepper = carousel.Stepper(Window(1, 2))
    x, state = torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 2.0]])
    y, after = stepper.step(x, state)
    assert torch.equal(y, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert torch.equal(after, x[None])
    assert stepper.state is None


def test_stepper_takes_trees_and_context():
    cell = build("trees-and-integers", torch.float32)
    y = carousel.Stepper(cell)(Pair(torch.tensor(3), torch.randn(2)))
    assert y.symbol == 4
    attending = build("context")
    given = arguments(attending, 1, 1)
    y = carousel.Stepper(attending, context=given["context"][0])(given["inputs"][0, 0])
    expected, _ = carousel.scan(attending, given["inputs"], context=given["context"])
    torch.testing.assert_close(y, expected[0, 0].detach())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("abc", r"expected inputs to be a tensor \(2,\) or a tree of them, got str"),
        (torch.ones(5, dtype=torch.float64), r"expected inputs \(2,\) for LSTM, got \(5,\)"),
        (torch.ones(1, 2, dtype=torch.float64), r"expected inputs \(2,\) for LSTM, got \(1, 2\)"),
        (torch.ones(2), r"inputs of dtype torch.float64, as the cell's, got torch.float32"),
    ],
)
def test_stepper_refuses(x, message, lstm):
    with pytest.raises(InputError, match=f"Stepper: .*{message}"):
        carousel.Stepper(lstm)(x)


def test_stepper_refuses_a_state(lstm):
    stepper = carousel.Stepper(lstm)
    stepper.state = state_of(1)
    with pytest.raises(InputError, match=r"Stepper: expected state.h of LSTM \(3,\) torch.float64 on cpu, got \(1, 3\)"):
        stepper(x64(2))


def population(cell, P):
    draw = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(P, *parameter.shape, generator=draw, dtype=parameter.dtype).requires_grad_()
        for name, parameter in cell.named_parameters()
    }


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["lstm", "lstm1997", "learned-start", "stack", "context", "trees-and-integers"])
def test_a_population_is_its_networks_one_by_one(name, backend):
    cell, P, B, T = build(name), 3, 2, 4
    params = population(cell, P)
    given = arguments(cell, T, P * B)
    shaped = {
        "inputs": pytree.tree_map(lambda leaf: leaf.unflatten(1, (P, B)), given["inputs"]),
        "state": pytree.tree_map(lambda leaf: leaf.unflatten(0, (P, B)), given["state"]),
    }
    if "context" in given:
        shaped["context"] = pytree.tree_map(lambda leaf: leaf.unflatten(0, (P, B)), given["context"])
    lengths = torch.tensor([[4, 2], [0, 3], [4, 4]])
    for state in (shaped["state"], None):
        extra = {name: tree for name, tree in shaped.items() if name == "context"}
        results = carousel.scan(
            cell.eval(), shaped["inputs"], state, **extra, lengths=lengths, params=params, return_states=True, backend=backend
        )
        leaves = [leaf for leaf in pytree.tree_leaves(results) if leaf.is_floating_point()]
        gradients = torch.autograd.grad(sum(leaf.square().sum() for leaf in leaves), list(params.values()), allow_unused=True)
        for p in range(P):
            own = copy.deepcopy(cell)
            own.load_state_dict({key: value[p].detach() for key, value in params.items()}, strict=False)
            alone = carousel.scan(
                own,
                pytree.tree_map(lambda leaf, p=p: leaf[:, p], shaped["inputs"]),
                None if state is None else pytree.tree_map(lambda leaf, p=p: leaf[p], state),
                **pytree.tree_map(lambda leaf, p=p: leaf[p], extra),
                lengths=lengths[p],
                return_states=True,
                backend="eager",
            )
            for n, (many, one) in enumerate(zip(results, alone, strict=True)):
                for got, want in zip(pytree.tree_leaves(many), pytree.tree_leaves(one), strict=True):
                    torch.testing.assert_close(got[p] if n == 1 else got[:, p], want)
            of_one = [leaf for leaf in pytree.tree_leaves(alone) if leaf.is_floating_point()]
            wanted = torch.autograd.grad(sum(leaf.square().sum() for leaf in of_one), list(own.parameters()), allow_unused=True)
            for got, want in zip(gradients, wanted, strict=True):
                if want is not None:
                    torch.testing.assert_close(got[p], want)


def test_params_that_do_not_fit_are_named():
    cell = Elman(2, 3)
    params, x = population(cell, 4), torch.zeros(5, 4, 1, 2)
    with pytest.raises(InputError, match=r"expected params of Elman: W, U, b; got W$"):
        carousel.scan(cell, x, params={"W": params["W"]})
    with pytest.raises(InputError, match=r"params\['U'\] \(4, 3, 3\)"):
        carousel.scan(cell, x, params=params | {"U": params["U"][:3]})
    for given, reason in [
        ({"inputs": x[:, :3]}, r"P = 4 networks expected inputs \(T, 4, 1, ...\), got \(5, 3, 1, 2\)"),
        ({"inputs": x[:, :, 0]}, r"expected inputs \(T, 4, B, 2\), got \(5, 4, 2\)"),
        ({"inputs": None}, r"expected inputs .* got NoneType"),
        ({"inputs": x, "state": (torch.zeros(4, 1, 3),)}, "state of Elman built as"),
        ({"inputs": x, "state": torch.zeros(4, 3)}, r"expected state \(4, 1, ...\), got \(4, 3\)"),
        ({"inputs": x, "lengths": [5, 5, 5, 5]}, r"expected lengths \(4, 1, ...\), got \(4,\)"),
    ]:
        with pytest.raises(InputError, match=reason):
            carousel.scan(cell, **given, params=params)
