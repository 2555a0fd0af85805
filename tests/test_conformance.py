"""Every cell and option of the table, on every backend: what scan promises, held against a plain loop over `step`."""

import copy
import importlib
import pkgutil

import pytest
import torch
from torch.utils import _pytree as pytree

import carousel
from carousel.cell import Cell, TreeCell
from carousel.engine import BACKENDS, program
from carousel.engine.native import compiled
from cell_table import CELLS, arguments, build, pick, plain_loop

TOLERANCE = {torch.float64: {"rtol": 1e-11, "atol": 1e-12}, torch.float32: {"rtol": 1e-4, "atol": 1e-5}}
NOISY = [name for name in CELLS if build(name).noise_shapes()]
# (B, lengths): an odd number of equal sequences, ragged ones, one, one that stops early.
BATCHES = {
    "equal": (3, None),
    "ragged": (5, (4, 0, 2, 5, 1)),
    "one": (1, None),
    "one-short": (1, (3,)),
    "none-moves": (3, (0, 0, 0)),
}
T = 5


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    return request.param


def leaves_close(given, expected, dtype=torch.float64):
    assert pytree.tree_structure(given) == pytree.tree_structure(expected)
    for one, other in zip(pytree.tree_leaves(given), pytree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE[dtype])


def leaves_equal(given, expected):
    pairs = zip(pytree.tree_leaves(given), pytree.tree_leaves(expected), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def padded_with_nan(inputs, lengths):
    """The inputs with NaN (for an integer 9, which is no symbol; for a bool True) wherever a sequence has ended."""

    def pad(leaf):
        leaf = leaf.clone()
        for b, length in enumerate(lengths):
            leaf[length:, b] = float("nan") if leaf.is_floating_point() else 9
        return leaf

    return pytree.tree_map(pad, inputs)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_scan_is_the_plain_loop(name, dtype, batch, backend):
    cell = build(name, dtype)
    B, lengths = BATCHES[batch]
    lengths = None if lengths is None else torch.tensor(lengths)
    given = arguments(cell, T, B, dtype)
    expected = plain_loop(cell, **given, lengths=lengths, generator=torch.Generator().manual_seed(2))
    if lengths is not None:
        given["inputs"] = padded_with_nan(given["inputs"], lengths)
    result = carousel.scan(
        cell, **given, lengths=lengths, generator=torch.Generator().manual_seed(2), return_states=True, backend=backend
    )
    leaves_close(result, expected, dtype)
    outputs, final_state, states = result
    for leaf, before in zip(pytree.tree_leaves(final_state), pytree.tree_leaves(given["state"]), strict=True):
        assert leaf.dtype == before.dtype
    for b in range(B):
        length = T if lengths is None else int(lengths[b])
        assert all(not leaf[length:, b].any() for leaf in pytree.tree_leaves(outputs))
        assert leaves_equal(pick(final_state, b), pick(states, length - 1, b) if length else pick(given["state"], b))
        assert leaves_equal(pick(final_state, b), pick(states, T - 1, b))


@pytest.mark.parametrize("name", CELLS)
def test_no_sequences_and_no_steps(name, backend):
    cell = build(name)
    for steps, B in ((T, 0), (0, 3)):
        given = arguments(cell, steps, B)
        outputs, final_state, states = carousel.scan(cell, **given, return_states=True, backend=backend)
        one, _, _ = carousel.scan(cell, **arguments(cell, 1, 1), return_states=True, backend=backend)
        for leaf, like in zip(pytree.tree_leaves(outputs), pytree.tree_leaves(one), strict=True):
            assert leaf.shape == (steps, B, *like.shape[2:])
            assert leaf.dtype == like.dtype
        assert leaves_equal(final_state, given["state"])
        for leaf, like in zip(pytree.tree_leaves(states), pytree.tree_leaves(given["state"]), strict=True):
            assert leaf.shape == (steps, *like.shape)


# Along random directions; every derivative by itself takes ten times as long and is for make test-long.
@pytest.mark.parametrize("each", [False, pytest.param(True, marks=pytest.mark.long)], ids=["directions", "each"])
@pytest.mark.parametrize("backend", ["native", "eager"])
@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_finite_differences(name, backend, each):
    cell = build(name)
    lengths = torch.tensor([3, 0, 2])
    given = arguments(cell, 3, 3)
    seeds = [leaf.requires_grad_() for leaf in pytree.tree_leaves(given) if leaf.is_floating_point()]
    seeds += list(cell.parameters())

    def outputs(*_):
        generator = torch.Generator().manual_seed(2)
        result = carousel.scan(cell, **given, lengths=lengths, generator=generator, return_states=True, backend=backend)
        return tuple(leaf for leaf in pytree.tree_leaves(result) if leaf.is_floating_point())

    # gradcheck shifts the entries of these very tensors in place.
    assert torch.autograd.gradcheck(outputs, tuple(seeds), fast_mode=not each)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("lengths", [None, (2, 6, 0, 6)], ids=["equal", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_parts_and_threads_make_a_whole(name, lengths, monkeypatch, two_threads):
    """Native code takes long sequences in parts, here a step each, or two where sequences have ended, and divides the
    rows over threads, here however few there are."""
    cell = build(name)
    given = arguments(cell, 6, 4)
    seeds = [leaf.requires_grad_() for leaf in pytree.tree_leaves(given) if leaf.is_floating_point()] + list(cell.parameters())

    def everything():
        generator = torch.Generator().manual_seed(2)
        ends = None if lengths is None else torch.tensor(lengths)
        result = carousel.scan(cell, **given, lengths=ends, generator=generator, return_states=True, backend="native")
        leaves = [leaf for leaf in pytree.tree_leaves(result) if leaf.is_floating_point()]
        total = sum((leaf * torch.linspace(1, 2, leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape)).sum() for leaf in leaves)
        gradients = torch.autograd.grad(total, seeds, allow_unused=True)
        return leaves, [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(seeds, gradients, strict=True)]

    expected = everything()
    monkeypatch.setattr(compiled, "ALONE", 0)
    leaves_close(everything(), expected)
    monkeypatch.setattr(program, "PART_BYTES", 1)
    monkeypatch.setattr(program, "LEAST_PART", 4)
    leaves_close(everything(), expected)


@pytest.mark.parametrize("name", CELLS)
def test_learned_start_gets_the_gradient_of_every_sequence(name, backend):
    cell = build(name)
    given = arguments(cell, 3, 3)
    del given["state"]
    start = pytree.tree_map(lambda leaf: leaf.expand(3, *leaf.shape), cell.initial_state())
    for state in (None, start):
        generator = torch.Generator().manual_seed(2)
        outputs, _ = carousel.scan(cell, **given, state=state, generator=generator, backend=backend)
        total = sum(leaf.square().sum() for leaf in pytree.tree_leaves(outputs) if leaf.is_floating_point())
        parameters = dict(cell.named_parameters())
        if not parameters:
            return
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        if state is None:
            without_state = gradients
    leaves_close([*gradients], [*without_state])


@pytest.mark.parametrize("name", NOISY)
def test_noise_repeats_with_the_seed_and_stays_out_of_evaluation(name, backend):
    cell = build(name)
    given = arguments(cell, T, 3)

    def outputs(seed):
        generator = torch.Generator().manual_seed(seed)
        before = generator.get_state()
        result, _ = carousel.scan(cell, **given, generator=generator, backend=backend)
        return result, torch.equal(before, generator.get_state())

    first, untouched = outputs(0)
    assert not untouched
    assert torch.equal(first, outputs(0)[0])
    assert not torch.equal(first, outputs(1)[0])
    cell.eval()
    evaluated, untouched = outputs(0)
    assert untouched
    assert torch.equal(evaluated, outputs(1)[0])
    assert not torch.equal(evaluated, first)


@pytest.mark.parametrize("name", CELLS)
def test_results_repeat_bit_for_bit(name, backend):
    cell = build(name)
    given = arguments(cell, T, 3)

    def gradients():
        outputs, _ = carousel.scan(cell, **given, generator=torch.Generator().manual_seed(0), backend=backend)
        total = sum(leaf.square().sum() for leaf in pytree.tree_leaves(outputs))
        parameters = list(cell.parameters())
        return [total, *(torch.autograd.grad(total, parameters, allow_unused=True) if parameters else ())]

    for one, other in zip(gradients(), gradients(), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("name", CELLS)
def test_stepper_is_scan(name):
    cell = build(name).eval()
    given = arguments(cell, T, 1)
    outputs, final_state = carousel.scan(cell, **given)
    stepper = carousel.Stepper(cell, context=None if "context" not in given else pick(given["context"], 0))
    stepper.state = pick(given["state"], 0)
    for t in range(T):
        leaves_close(stepper(pick(given["inputs"], t, 0)), pick(outputs, t, 0))
    leaves_close(stepper.state, pick(final_state, 0))


@pytest.mark.parametrize("name", CELLS)
def test_claims(name):
    cell = build(name)
    state = cell.initial_state()
    for field in cell.carries:
        assert field in state._fields
    for leaf in pytree.tree_leaves(state):
        assert leaf.dtype == torch.float64
    given = arguments(cell, 1, 1)
    y, _ = cell.eval()(pick(given["inputs"], 0, 0), state, context=None if "context" not in given else pick(given["context"], 0))
    if cell.output_size is not None:
        assert y.shape == (cell.output_size,)


@pytest.mark.parametrize("name", CELLS)
def test_a_picture_can_be_made_from_the_states(name):
    cell = build(name).eval()
    if type(cell).gates is Cell.gates:
        assert cell.gates(None, None) == {}
        return
    given = arguments(cell, T, 1)
    _, _, states = carousel.scan(cell, **given, return_states=True)
    for t in range(1, T):
        for gate, value in cell.gates(pick(given["inputs"], t, 0), pick(states, t - 1, 0)).items():
            assert isinstance(gate, str)
            assert value.isfinite().all()


@pytest.mark.parametrize("name", CELLS)
def test_weights_survive_a_round_trip(name):
    cell, other = build(name), build(name, seed=7)
    other.load_state_dict(copy.deepcopy(cell.state_dict()), strict=True)
    cell.eval(), other.eval()
    given = arguments(cell, T, 3)
    assert leaves_equal(carousel.scan(cell, **given), carousel.scan(other, **given))


def test_every_cell_of_the_library_is_in_the_table():
    for module in pkgutil.walk_packages(carousel.__path__, "carousel."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    known = {type(module) for name in CELLS for module in build(name).modules()}
    library = {cell for cell in _subclasses(Cell) if cell.__module__.startswith("carousel.")}
    # Those of the learning rules are a rule with a network in it, that of the loop is a population: tests/learn and
    # tests/test_loop.py have them; those of recipes are for one experiment, and tests/recipes has them. Cells over trees run
    # with fold: tests/test_fold.py has a table of them.
    apart = ("carousel.bench.", "carousel.learn.", "carousel.loop", "carousel.network", "carousel.recipes.")
    missing = {cell for cell in library - known if not cell.__module__.startswith(apart) and not issubclass(cell, TreeCell)}
    assert not missing, "add these cells to tests/cell_table.py"


def _subclasses(base):
    return {cell for child in base.__subclasses__() for cell in (child, *_subclasses(child))}
