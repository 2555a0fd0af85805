"""nn: layers against torch.nn's in every combination of options, resets, loading, errors."""

import copy
import io
from functools import partial
from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from carousel import cells, nn
from carousel.errors import InputError

T, B, I, H = 4, 3, 2, 3
LENGTHS = torch.tensor([2, 4, 1])
KINDS = {
    "lstm": (nn.LSTM, torch.nn.LSTM, {}),
    "lstm-proj": (nn.LSTM, torch.nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, torch.nn.GRU, {}),
    "rnn-tanh": (nn.RNN, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn-relu": (nn.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
}
LAYERS = [
    nn.LSTM, nn.PeepholeLSTM, nn.CoupledLSTM, nn.LayerNormLSTM,
    nn.GRU, nn.ResetBeforeGRU, nn.GRU1, nn.GRU2, nn.GRU3, nn.RNN, nn.MGU,
]  # fmt: skip


def pair(kind, seed=0, **options):
    """Our layer and torch.nn's, with the same weights."""
    ours, theirs, extra = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reference = theirs(I, H, **options, **extra)
        layer = ours(I, H, **options, **extra)
    layer.load_state_dict(reference.state_dict())
    return layer, reference


def close(got, want, what, dtype):
    """Largest error over largest entry."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    error = (got - want).abs().max() / want.abs().max().clamp(min=1e-30)
    assert error <= (1e-12 if dtype == torch.float64 else 1e-5), (what, float(error))


def inputs_for(layout, layer, generator, dtype):
    """The input as the layout wants it, the leaf tensor beneath, and the shape of the initial state without its last axis."""
    D = 2 if layer.bidirectional else 1
    if layout == "unbatched":
        leaf = torch.randn(T, I, generator=generator, dtype=dtype, requires_grad=True)
        return leaf, leaf, (D * layer.num_layers,)
    leading = (B, T) if layer.batch_first else (T, B)
    leaf = torch.randn(*leading, I, generator=generator, dtype=dtype, requires_grad=True)
    given = leaf
    if layout.startswith("packed"):
        lengths = LENGTHS if layout == "packed-unsorted" else LENGTHS.sort(descending=True).values
        given = pack_padded_sequence(leaf, lengths, layer.batch_first, enforce_sorted=layout == "packed-sorted")
    return given, leaf, (D * layer.num_layers, B)


def results(layer, given, hx, leaves):
    """The output, the final states and the gradients of a function of both that weighs every entry differently."""
    output, final = layer(given, hx)
    if isinstance(output, PackedSequence):
        assert isinstance(given, PackedSequence)
        for ours, theirs in zip(output[1:], given[1:], strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)
        output = output.data
    tensors = [output, *pytree.tree_leaves(final)]
    weighed = sum((tensor * torch.linspace(-1, 1, tensor.numel(), dtype=tensor.dtype).view_as(tensor)).sum() for tensor in tensors)
    parameters = dict(layer.named_parameters())
    gradients = torch.autograd.grad(weighed, [*leaves, *parameters.values()], retain_graph=True)
    return tensors, gradients[: len(leaves)], dict(zip(parameters, gradients[len(leaves) :], strict=True))


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own, on its kernel
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
def test_every_combination_gives_torch_numbers(kind, num_layers, bidirectional, bias, dtype):
    for batch_first in (False, True):
        layer, reference = pair(
            kind, num_layers=num_layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, dtype=dtype
        )
        for layout, given_state in product(["padded", "packed-sorted", "packed-unsorted", "unbatched"], [False, True]):
            what = (batch_first, layout, given_state)
            generator = torch.Generator().manual_seed(len(layout) + given_state)
            given, leaf, leading = inputs_for(layout, layer, generator, dtype)
            leaves, hx = [leaf], None
            if given_state:
                sizes = [layer.cells[0].output_size, H] if kind.startswith("lstm") else [H]
                starts = [torch.randn(*leading, size, generator=generator, dtype=dtype, requires_grad=True) for size in sizes]
                leaves += starts
                hx = tuple(starts) if len(starts) == 2 else starts[0]
            ours = results(layer, given, hx, leaves)
            theirs = results(reference, given, hx, leaves)
            for n in (0, 1):
                for got, want in zip(ours[n], theirs[n], strict=True):
                    close(got, want, (what, n), dtype)
            compare_weight_gradients(layer, ours[2], theirs[2], what, dtype)


def compare_weight_gradients(layer, ours, theirs, what, dtype):
    compared = 0
    for n in range(len(layer.cells)):
        D = 2 if layer.bidirectional else 1
        suffix = f"_l{n // D}" + ("_reverse" if n % D else "")
        for own, name in (("W", "weight_ih"), ("U", "weight_hh"), ("V", "weight_hr"), ("b", "bias_ih"), ("b", "bias_hh")):
            if f"cells.{n}.{own}" not in ours:
                assert name + suffix not in theirs
                continue
            got, want = ours[f"cells.{n}.{own}"], theirs[name + suffix]
            if name == "bias_hh" and isinstance(layer, nn.GRU):
                got = torch.cat([got[: 2 * H], ours[f"cells.{n}.b_hn"]])
            close(got, want, (what, name + suffix), dtype)
            compared += 1
    assert compared == len(theirs)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_resets_separate_episodes(bidirectional):
    layer = nn.LSTM(I, H, bidirectional=bidirectional, dtype=torch.float64)
    x = drawn(T + 2, B, I)
    reset = torch.zeros(T + 2, B, dtype=torch.bool)
    reset[3] = True
    first, second = layer(x[:3])[0], layer(x[3:])[0]
    close(layer(x, reset=reset)[0], torch.cat([first, second]), "episodes", torch.float64)
    assert not torch.allclose(layer(x)[0], layer(x, reset=reset)[0])


def test_resets_of_packed_sequences_stay_within_their_lengths():
    layer = nn.GRU(I, H, bidirectional=True, dtype=torch.float64)
    x = drawn(T, B, I)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2] = True  # the end of the first sequence, inside the second, past the third
    hx = drawn(2, B, H, seed=1)
    _, final, states = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx, reset=reset, return_states=True)
    for b, length in enumerate(LENGTHS):
        alone, alone_reset = x[:length, b], reset[:length, b]
        _, want, want_states = layer(alone, hx[:, b], reset=alone_reset, return_states=True)
        close(final[:, b], want, b, torch.float64)
        close(states[:, :length, b], want_states, b, torch.float64)
    _, plain = layer(x[: LENGTHS[0], 0], hx[:, 0])
    close(final[:, 0], plain, "no reset inside", torch.float64)


def test_batch_first_resets_and_states_are_laid_out_as_the_input():
    layer = nn.LSTM(I, H, 2, batch_first=True, bidirectional=True, dtype=torch.float64)
    x, reset = drawn(B, T, I), drawn(B, T, seed=1) > 0
    y, final, states = layer(x, reset=reset, return_states=True)
    assert states.h.shape == states.c.shape == (4, B, T, H)
    close(torch.cat([states.h[2], states.h[3]], dim=-1), y, "h is the output", torch.float64)
    close(states.c[0][:, -1], final.c[0], "forward ends last", torch.float64)
    close(states.c[1][:, 0], final.c[1], "backward ends first", torch.float64)
    layer.batch_first = False
    close(layer(x.transpose(0, 1), reset=reset.transpose(0, 1))[0].transpose(0, 1), y, "time first", torch.float64)


def test_no_gradient_crosses_a_reset():
    layer = nn.LSTM(I, H, bidirectional=True, dtype=torch.float64)
    x, hx = drawn(T, B, I).requires_grad_(), [drawn(2, B, H, seed=seed).requires_grad_() for seed in (1, 2)]
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[0, 0] = reset[2, 1] = True
    y, _ = layer(x, hx, reset=reset)
    of_start = torch.autograd.grad(y.sum(), hx, retain_graph=True)
    for gradient in of_start:
        # Only the forward direction starts anew at the very first step.
        assert [bool(entry) for entry in gradient.abs().sum(-1).flatten()] == [False, True, True, True, True, True]
    (of_x,) = torch.autograd.grad(y[2:].sum(), x, retain_graph=True)
    assert of_x[:2, 1].abs().sum() == 0
    assert (of_x[:2, [0, 2]].abs().sum(-1) > 0).all()
    (of_x,) = torch.autograd.grad(y[:2].sum(), x)
    assert of_x[2:, 1].abs().sum() == 0
    assert (of_x[2:, [0, 2]].abs().sum(-1) > 0).all()


def test_states_of_every_step_are_the_final_states_of_torch_at_that_step():
    layer, reference = pair("lstm", bidirectional=True, dtype=torch.float64)
    x = drawn(T, B, I)
    _, _, states = layer(x, return_states=True)
    for t in range(T):
        _, until = reference(x[: t + 1])
        _, since = reference(x[t:])
        for got, forward, backward in zip(states, until, since, strict=True):
            close(got[:, t], torch.stack([forward[0], backward[1]]), t, torch.float64)


def test_a_reset_draws_no_noise_in_evaluation():
    layer = nn.LSTM(I, H, zoneout_h=0.5, dtype=torch.float64).eval()
    x = drawn(T, B, I)
    none = torch.zeros(T, B, dtype=torch.bool)
    assert torch.equal(layer(x, reset=none)[0], layer(x)[0])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_many_cotangents_at_once(kind):
    ours, theirs = pair(kind, dtype=torch.float64, num_layers=2)
    x = drawn(T, B, I).requires_grad_()
    (y, _), (wanted, _) = ours(x), theirs(x)
    cotangents = torch.randn(5, *y.shape, dtype=torch.float64)
    for inputs, outputs in (([x], [x]), ([x, ours.cells[0].W], [x, theirs.weight_ih_l0])):
        found = torch.autograd.grad(y, inputs, cotangents, is_grads_batched=True, retain_graph=True)
        expected = torch.autograd.grad(wanted, outputs, cotangents, is_grads_batched=True, retain_graph=True)
        for got, want in zip(found, expected, strict=True):
            torch.testing.assert_close(got, want)
    for vectorize in (False, True):
        found, expected = (
            torch.autograd.functional.jacobian(lambda x, layer=layer: layer(x)[0], x.detach(), vectorize=vectorize)
            for layer in (ours, theirs)
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"bias": "True"}, {"bias": 0}, {"batch_first": "False"}, {"batch_first": 1}, {"bidirectional": "False"},
        {"num_layers": 2.0}, {"num_layers": True}, {"hidden_size": "3"}, {"input_size": None}, {"dropout": "0.1"},
    ],
    ids=str,
)  # fmt: skip
def test_an_argument_of_another_type_is_refused(kind, wrong):
    if kind is nn.MGU and "bias" in wrong:
        return
    ((name, _),) = wrong.items()
    with pytest.raises(InputError, match=f"{kind.__name__}: expected {name} of type"):
        kind(**{"input_size": I, "hidden_size": H, **wrong})


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_every_layer_may_be_checkpointed(kind, reentrant):
    layer = kind(I, H, num_layers=2, dtype=torch.float64)
    x = drawn(T, B, I).requires_grad_()
    wanted = torch.autograd.grad(layer(x)[0].square().sum(), [x, *layer.parameters()])
    y = checkpoint(layer, x, use_reentrant=reentrant)[0]
    y.square().sum().backward()
    for got, want in zip([x, *layer.parameters()], wanted, strict=True):
        assert torch.equal(got.grad, want)


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_runs_trains_copies_and_round_trips(kind):
    layer = kind(I, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = drawn(T, B, I)
    y, _ = layer(x)
    assert y.shape == (T, B, 2 * H) == (T, B, layer.output_size)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())

    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = kind(I, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    assert not torch.equal(other(x)[0], y)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x)[0], y)
    assert torch.equal(copy.deepcopy(layer)(x)[0], y)
    parameters = dict(layer.named_parameters())
    assert torch.equal(torch.func.functional_call(kind(I, H, 2, bidirectional=True), parameters, (x,))[0], y)
    assert layer.to(torch.float32)(x.float())[0].dtype == torch.float32


def test_recurrent_takes_any_cell():
    layer = nn.Recurrent(partial(cells.FullyRecurrent, units=H), I, num_layers=2, bidirectional=True)
    y, state = layer(drawn(T, B, I).float())
    assert y.shape == (T, B, 2 * H)
    again, _ = layer(drawn(T, B, I).float(), state)
    assert not torch.equal(again, y)


def test_a_cell_without_parameters_makes_a_layer():
    x = drawn(T, B, I)
    y, last = nn.Recurrent(lambda size: cells.Window(1, size, dtype=torch.float64), I)(x)
    assert torch.equal(y, torch.cat([torch.cat([torch.zeros_like(x[:1]), x[:-1]]), x], dim=-1))
    assert torch.equal(last, x[None, -1:].transpose(1, 2))


def test_dropout_acts_between_layers_in_training_only():
    layer, reference = pair("lstm", num_layers=2, dropout=0.4, dtype=torch.float64)
    x = drawn(T, B, I)
    torch.manual_seed(3)
    first, second = layer(x)[0], layer(x)[0]
    torch.manual_seed(3)
    assert torch.equal(layer(x)[0], first)
    assert not torch.equal(second, first)
    close(layer.eval()(x)[0], reference.eval()(x)[0], "evaluation", torch.float64)

    # A second layer that passes on the sign of its input shows what was dropped, and the scale of the rest.
    wide = nn.RNN(1, 1000, 2, "relu", dropout=0.4, bias=False)
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
        wide.cells[0].W.fill_(1.0)
        wide.cells[1].W.copy_(torch.eye(1000))
    y = wide(torch.ones(1, 1, 1))[0]
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.6))
    assert 520 < len(kept) < 680  # 600 on average, five standard deviations of 15.5 to each side

    with pytest.warns(UserWarning, match="num_layers is 1"):
        nn.LSTM(I, H, dropout=0.1)


def test_loading_is_strict():
    layer, reference = pair("lstm", num_layers=2)
    given = reference.state_dict()
    without = {name: value for name, value in given.items() if name != "bias_hh_l1"}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "bias_hh_l1"\. $'):
        layer.load_state_dict(without)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "weight_ih_l2"\. $'):
        layer.load_state_dict({**given, "weight_ih_l2": given["weight_ih_l1"]})
    with pytest.raises(RuntimeError, match=r"size mismatch for weight_hh_l0: .*\[12, 4\].*\[12, 3\]"):
        layer.load_state_dict({**given, "weight_hh_l0": torch.zeros(12, 4)})
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "weight_ih_l0"\. $'):
        layer.load_state_dict({**layer.state_dict(), "weight_ih_l0": given["weight_ih_l0"]})
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "cells.0.p", "cells.1.p"'):
        nn.PeepholeLSTM(I, H, 2).load_state_dict(given)
    with pytest.raises(RuntimeError, match="Unexpected"):
        nn.ResetBeforeGRU(I, H, bias=False).load_state_dict(torch.nn.GRU(I, H, bias=False).state_dict())
    before = layer.cells[1].b.clone()
    result = layer.load_state_dict(without, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["bias_hh_l1"], [])
    assert torch.equal(layer.cells[1].b, before)


def test_loading_inside_a_model():
    def model(rnn):
        return torch.nn.ModuleDict({"rnn": rnn, "out": torch.nn.Linear(H, 1)})

    reference, ours = model(torch.nn.GRU(I, H)), model(nn.GRU(I, H))
    given = reference.state_dict()
    names = list(given)
    ours.load_state_dict(given)
    assert list(given) == names
    x = drawn(T, B, I).float()
    close(ours["rnn"](x)[0], reference["rnn"](x)[0], "in a model", torch.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LSTM(I, H)(torch.zeros(T, B, 5)), r"LSTM: expected input \(T, B, 2\).* got \(4, 3, 5\)"),
        (lambda: nn.LSTM(I, H)(torch.zeros(I)), r"expected input .* got \(2,\)"),
        (lambda: nn.LSTM(I, H)([1.0]), "expected input .* got list"),
        (lambda: nn.LSTM(I, H)(torch.zeros(T, B, I).long()), "dtype torch.float32, .* got torch.int64"),
        (lambda: nn.LSTM(I, H)(torch.zeros(T, B, I), torch.zeros(1, B, H)), r"hx of 2 tensors \(hx.h, hx.c\), got 1"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, B, I), torch.zeros(1, 1, H)), r"expected hx \(1, 3, 3\) .* got \(1, 1, 3\)"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, I), torch.zeros(1, 1, H)), r"expected hx \(1, 3\) .* got \(1, 1, 3\)"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, B, I), torch.zeros(1, B, H).double()), "got .* torch.float64"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, B, I), reset=torch.zeros(B, T).bool()), r"reset \(4, 3\) .* got \(3, 4\)"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, B, I), reset=torch.zeros(T, B)), "torch.bool, .* got .* torch.float32"),
        (lambda: nn.GRU(I, H)(torch.zeros(T, B, I), reset=[[True]]), "torch.bool, .* got list"),
        (lambda: nn.GRU(I, H, num_layers=0), "num_layers of 1 or more, got 0"),
        (lambda: nn.GRU(I, H, 2, dropout=1.5), r"dropout in \[0, 1\], got 1.5"),
        (lambda: nn.LSTM(I, H, proj_size=3), "proj_size .* got 3"),
        (lambda: nn.RNN(I, H, nonlinearity="sin"), "got 'sin'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
