"""The names that options take, known without torch, so that a wrong one is refused at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from carousel.errors import InputError

MODELS = (
    *("window-1", "window-2", "elman", "elman-relu", "fully-recurrent", "lstm", "lstm-no-forget", "lstm-peephole", "lstm-coupled"),
    *("lstm-layer-norm", "gru", "gru-reset-after", "gru-input-gates", "gru1", "gru2", "gru3", "mgu"),
)
"""Keys of `carousel.models.MODELS`; window-N stands for any number N of inputs."""

TREE_MODELS = ("tree-rnn", "rntn", "tree-lstm", "child-sum-tree-lstm", "tree-gru", "recursive-autoencoder", "bag-of-words")
"""Keys of `carousel.models.TREE_MODELS`, the networks over trees."""

WINDOW = re.compile(r"window-([1-9]\d{0,5})")

OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop", "rmsprop-graves", "adagrad")
"""Keys of `carousel.learn.OPTIMIZERS`."""


def check_model(name: str) -> None:
    """Refuse what is no model over sequences, with the nearest right name."""
    if name in TREE_MODELS:
        raise InputError(f"model {name} reads trees, not sequences; expected one of: {', '.join(MODELS)}, window-N for N inputs")
    if name not in MODELS and not WINDOW.fullmatch(name):
        raise InputError(
            f"unknown model {name!r}{_near(name, MODELS)}; expected one of: {', '.join(MODELS)}, window-N for N inputs"
        )


def check_tree_model(name: str) -> None:
    """Refuse what is no model over trees, with the nearest right name."""
    if name in MODELS or WINDOW.fullmatch(name):
        raise InputError(f"model {name} reads sequences, not trees; expected one of: {', '.join(TREE_MODELS)}")
    if name not in TREE_MODELS:
        raise InputError(f"unknown model {name!r}{_near(name, TREE_MODELS)}; expected one of: {', '.join(TREE_MODELS)}")


def check_optimizer(name: str) -> None:
    """Refuse what is no optimizer, with the nearest right name."""
    if name not in OPTIMIZERS:
        raise InputError(f"no optimizer {name!r}{_near(name, OPTIMIZERS)}; expected one of: {', '.join(OPTIMIZERS)}")


def check_device(name: str) -> None:
    """Refuse what is no device, whether or not this machine has it."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,4})?", name):
        hint = "; did you mean 'cuda'?" if name.lower().startswith(("gpu", "cuda")) else ""
        raise InputError(f"expected device cpu, cuda or cuda:N, got {name!r}{hint}")


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
