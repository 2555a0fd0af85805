"""How our own rows of the Neural Turing Machine's experiments set out."""

import pytest
import torch

from carousel.loop import scan
from carousel.recipes.ntm2014 import EXPERIMENTS
from carousel.recipes.ntm2014_starts import GrowingSort


def test_sorting_is_practised_on_few_vectors_first():
    practice, generator = GrowingSort(every=8), torch.Generator().manual_seed(0)
    for most in (3, 4, 5):
        for _ in range(2):
            batch = practice.sample(4, generator)
            vectors = int(batch.lengths[0] - 1) // 2
            assert 1 <= vectors <= most
            assert (batch.lengths == 2 * vectors + 1).all()
            assert (batch.mask.sum(0) == vectors).all()
    practice.drawn = 17 * 8
    assert (practice.sample(4, generator).lengths == 20 + 1 + 16).all()
    assert torch.equal(practice.validation().inputs, EXPERIMENTS["priority-sort"].task.validation().inputs)


def test_heads_that_look_up_set_out_sharply():
    """Each context's key finds few rows of the memory, where the heads of the usual start spread over all."""
    torch.manual_seed(0)
    widest = {}
    for name in ("ntm-lstm", "ntm-lstm-best"):
        cell = EXPERIMENTS["dynamic-n-grams"].models[name].make(1, 1)
        with torch.no_grad():
            gates = cell.gates(torch.ones(1), cell.initial_state())
        widest[name] = max(float(gates[f"{kind}_w"].max()) for kind in ("read", "write"))
        assert gates["read_g"] > 0.8 or name == "ntm-lstm"
    assert widest["ntm-lstm-best"] > 0.1


@pytest.mark.parametrize("row", ["ntm-lstm-best", "ntm-ff-best"])
def test_a_head_that_writes_in_turn_sets_out_a_row_further_each_step(row):
    torch.manual_seed(0)
    cell = EXPERIMENTS["copy"].models[row].make(9, 8)
    with torch.no_grad():
        states = scan(cell, torch.ones(40, 1, 9), return_states=True)[2]
    assert states.write_w[:, 0, 0].argmax(1).tolist() == list(range(1, 41))
    assert states.write_w[:, 0, 0].amax(1).min() > 0.9


def test_a_controller_that_remembers_tells_the_bit_five_steps_back():
    """The output of the LSTM does so before training, linearly, where that of the usual start hardly does."""
    inputs = EXPERIMENTS["dynamic-n-grams"].task.sample(30, torch.Generator().manual_seed(0)).inputs
    wanted = 2 * inputs[10:-5].reshape(-1, 1) - 1
    wrong = {}
    for name in ("ntm-lstm", "ntm-lstm-best"):
        torch.manual_seed(0)
        cell = EXPERIMENTS["dynamic-n-grams"].models[name].make(1, 1)
        with torch.no_grad():
            h = scan(cell, inputs, return_states=True)[2].controller[0].h[15:].flatten(0, 1)
        seen = torch.cat([h, torch.ones(len(h), 1)], 1).double()
        read = seen[::2] @ torch.linalg.lstsq(seen[1::2], wanted[1::2].double()).solution
        wrong[name] = float((read * wanted[::2] < 0).double().mean())
    assert wrong["ntm-lstm-best"] < 0.05
    assert wrong["ntm-lstm"] > 0.1


@pytest.mark.parametrize("row", ["ntm-lstm", "ntm-ff"])
def test_a_machine_that_asks_sets_out_with_keys_that_tell_inputs_apart(row):
    inputs = EXPERIMENTS["associative-recall"].task.sample(50, torch.Generator().manual_seed(0), items=2).inputs[:2]
    spread = {}
    for name in (row, row + "-best"):
        torch.manual_seed(0)
        cell = EXPERIMENTS["associative-recall"].models[name].make(8, 6)
        with torch.no_grad():
            before = scan(cell, inputs[:1])[1]
            gates = torch.vmap(cell.gates)(inputs[1], before)
        spread[name] = float(gates["read_k"].std(0).mean())
        assert gates["read_beta"].min() > (3 if name.endswith("-best") else 0)
    assert spread[row + "-best"] > 3 * spread[row]


@pytest.mark.parametrize("row", ["ntm-lstm", "ntm-ff"])
def test_a_network_that_asks_has_a_key_like_what_it_wrote_of_the_same_vector(row):
    """Of the 18 vectors shown, what was added for the one shown again is mostly nearest to its key, before any training."""
    recall = EXPERIMENTS["associative-recall"]
    inputs = recall.task.sample(20, torch.Generator().manual_seed(0), items=6).inputs
    share = {}
    for name in (row, f"{row}-best"):
        torch.manual_seed(0)
        cell = recall.models[name].make(8, 6)
        with torch.no_grad():
            states = scan(cell, inputs, return_states=True)[2]
            before = torch.utils._pytree.tree_map(lambda leaf, first: torch.cat([first, leaf[:-1]]), states, _first(cell, 20))
            does = torch.vmap(torch.vmap(cell.gates))(inputs, before)
        shown = torch.arange(24).reshape(6, 4)[:, 1:].flatten()  # without the delimiters
        hits = []
        for t in range(25, 28):
            alike = torch.cosine_similarity(does["add"][shown].sum(2), does["read_k"][t, :, 0], dim=-1)  # (18, 20)
            nearest = inputs[shown[alike.argmax(0)], torch.arange(20)]
            hits.append((nearest == inputs[t]).all(-1))
        share[name] = float(torch.stack(hits).double().mean())
    assert share[f"{row}-best"] > 0.75
    assert share[row] < 0.25


def _first(cell, B):
    return torch.utils._pytree.tree_map(lambda leaf: leaf.expand(1, B, *leaf.shape), cell.initial_state())
