"""Trees: train a network to tell a label for each node of a tree, judge it on a part that was held out.

The run folder is that of `carousel.train.fit`, with `prepared.json` and `result.json` beside it.
"""

# No annotations from the future here: the fields of Settings are read in another module.

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from carousel.errors import InputError
from carousel.jobs import JSON, ending, run
from carousel.jobs.labelled import HERE, NONE, Network, listed
from carousel.jobs.run import Run
from carousel.jobs.settings import COUNT, DROPOUT, POSITIVE, SHARE, SIZE, Bounds, Section, Training, TrainSettings
from carousel.names import check_tree_model
from carousel.plain import typed

if TYPE_CHECKING:
    from torch import Tensor

    from carousel.data.trees import LabelledTree, TreeVocabulary
    from carousel.network import Recursive

__all__ = ["Result", "Settings", "TreePreprocessing", "evaluate", "load", "predict", "read", "stream", "train"]

Words = Section("Words", 0.4)
SHAPES: tuple[Literal["right", "balanced", "random"], ...] = ("right", "balanced", "random")
NODES_AT_ONCE = 50_000
"""Nodes, over all trees of a batch, that a network is asked for at once: what bounds the memory."""
AUTOENCODER = "recursive-autoencoder"
TREES_SHOWN = 4
HIGHEST = 30
"""Nodes of a tree that a picture has room for, leaves included."""


@dataclass(frozen=True)
class Settings(TrainSettings):
    """What trees to label, and how the network is trained."""

    job = "trees"

    file: Path
    """Trees in brackets, as (3 (2 It) (4 works)), or JSON lines of trees; with --parse, sentences: .tsv, .csv or .jsonl; or .gz."""
    _: KW_ONLY
    test: Path | None = None
    """A separate test file. [default: a fraction of FILE]"""
    validation_file: Path | None = None
    """A separate validation file. [default: a fraction of the training trees]"""
    test_share: Annotated[float, SHARE] = 0.2
    """Fraction of FILE held out for testing if there is no test file, the same for each label of a root."""
    validation: Annotated[float, SHARE] = 0.1
    """Fraction of the remaining trees used for validation if there is no validation file."""
    labels: Literal["nodes", "root"] = "nodes"
    """Learn the labels of all nodes that have one, or those of the roots alone."""
    parse: Literal["greedy", "right", "balanced", "random"] | None = None
    """FILE has sentences: a recursive autoencoder merges greedily, or along right-branching, balanced or random trees."""
    reconstruction: Annotated[float, Bounds(0, 1)] = 0.2
    """With --parse, the share of the reconstruction error in the loss; the rest is that of the labels."""
    vectors: Annotated[Path | None, Words] = None
    """A file of word vectors, as GloVe's or word2vec's text, or .gz of one, to start the embedding from."""
    min_count: Annotated[int, Words, COUNT] = 1
    """Words that occur less often in the training part are unknown, unless they have a vector."""
    embedding: Annotated[int | None, Words, SIZE] = None
    """Size of the learned embedding of a word. [default: that of the vectors, or as hidden]"""
    model: Annotated[str, Network] = "tree-lstm"
    """The network; `carousel list models` names them. [with --parse: recursive-autoencoder]"""
    hidden: Annotated[int, Network, SIZE] = 64
    """Units of a node."""
    layers: Annotated[int, Network, Bounds(1, 1)] = 1
    """1: networks over trees have one layer."""
    dropout: Annotated[float, Network, DROPOUT] = 0.0
    """Dropout rate of embeddings and of what the readout reads, in training."""
    baseline: Annotated[str, Network] = "bag-of-words"
    """A network to compare with, trained in the same way, or none."""
    sequences: Annotated[int, Training, COUNT] = 20_000
    """Training budget, the maximum number of training trees, repeats included."""
    batch_size: Annotated[int, Training, Bounds(1, 10**6)] = 25
    """Trees per update."""
    evaluate_every: Annotated[int, Training, COUNT] = 1_000
    """Training trees between two evaluations on the validation part."""
    rate: Annotated[float, Training, POSITIVE] = 0.003
    """The learning rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parse is not None and self.model == "tree-lstm":
            vars(self)["model"] = AUTOENCODER
        if (self.parse is None) != (self.model != AUTOENCODER):
            raise InputError(f"trees: --parse and --model {AUTOENCODER} need each other; got --model {self.model}")
        if self.baseline == AUTOENCODER:
            raise InputError(f"trees: expected a baseline that reads trees as they are, got {AUTOENCODER}")

    def networks(self) -> list[str]:
        """The network, and the one of the baseline."""
        return [self.model, *([] if self.baseline == NONE else [self.baseline])]

    def check_models(self) -> None:
        for model in self.networks():
            check_tree_model(model)


@dataclass(frozen=True, kw_only=True)
class Result(run.Result):
    """Scores on the held-out part, with C labels.

    Attributes:
        rows:       a method each: {"method", "accuracy", "macro-F1", "accuracy of nodes"} in percent, the first two of the
                    roots: the most frequent label, the baseline, the network.
        labels:     C texts.
        confusion:  (C, C) how often each label, by row, was predicted as each, by column, over the roots.
        heights:    {"height", "nodes", "accuracy", "certainty"} of the nodes of each height, in percent: how many have a label,
                    how many of them were right, and the mean probability of the predicted label.
        examples:   trees of the test part, with what the network says at each node: {"name", "children", "words", "truth",
                    "predicted", "probability"}.
        mistakes:   {"name", "text", "truth", "predicted", "probability"} of the roots that were predicted wrong, the most
                    confident first, twenty at most.
        counts:     trees of the training, validation and test part.
    """

    labels: list[str]
    confusion: list[list[int]]
    heights: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    mistakes: list[dict[str, Any]]
    counts: dict[str, int]

    @classmethod
    def from_table(cls, table: dict[str, Any], place: str) -> Self:
        """The result that result.json has."""
        result = super().from_table(table, place)
        C = len(result.labels)
        if [len(row) for row in result.confusion] != [C] * C:
            raise InputError(f"{place}: confusion: expected {C} rows of {C} counts, as there are labels")
        if any(not {"height", "nodes", "accuracy", "certainty"} <= one.keys() for one in result.heights):
            raise InputError(f"{place}: heights: expected height, nodes, accuracy and certainty each")
        if any(not {"name", "text", "truth", "predicted", "probability"} <= one.keys() for one in result.mistakes):
            raise InputError(f"{place}: mistakes: expected name, text, truth, predicted and probability each")
        if any(not {"name", "children", "words", "truth", "predicted", "probability"} <= one.keys() for one in result.examples):
            raise InputError(f"{place}: examples: expected name, children, words, truth, predicted and probability each")
        return result


@dataclass(frozen=True)
class TreePreprocessing:
    """What a network must know of its training data to be used alone.

    Attributes:
        words:        those with a number of their own, as `carousel.data.trees.TreeVocabulary` numbers them.
        labels:       by class.
        usual:        the label that most roots of the training part have.
        usual_node:   the label that most of its nodes have.
        arity:        the most children of a node.
        inner_words:  whether nodes with children have words.
        input_size:   length of a word's vector.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    usual: str
    usual_node: str
    arity: int
    inner_words: bool
    input_size: int

    @property
    def vocabulary(self) -> "TreeVocabulary":
        """The words and labels."""
        from carousel.data.trees import TreeVocabulary

        return TreeVocabulary(self.words, self.labels)

    def table(self) -> dict[str, Any]:
        """As plain values, with the sizes of the network."""
        return {**asdict(self), "symbols": self.vocabulary.size, "output_size": len(self.labels)}

    @staticmethod
    def of(table: dict[str, Any]) -> "TreePreprocessing":
        """The inverse of `table`."""
        kinds: dict[str, Any] = {"words": list[str], "labels": list[str], "usual": str, "usual_node": str}
        kinds |= {"arity": int, "inner_words": bool, "input_size": int}
        found = {name: typed(table[name], kind, name) for name, kind in kinds.items()}
        own = TreePreprocessing(**{**found, "words": tuple(found["words"]), "labels": tuple(found["labels"])})
        if own.vocabulary.size != table["symbols"] or len(own.labels) != table["output_size"]:
            raise ValueError("the words or labels do not fit the sizes of the network")
        if not {own.usual, own.usual_node} <= set(own.labels):
            raise ValueError("the most frequent label is not among the labels")
        return own

    def checked(self, trees: "Sequence[LabelledTree]", source: str) -> "Sequence[LabelledTree]":
        """The trees, which the network can read.

        Raises:
            InputError: a node with more children than in training, or with a word where none had one.
        """
        for n, tree in enumerate(trees, start=1):
            most = max(map(len, tree.children))
            if most > self.arity:
                raise InputError(f"{source}: tree {n}: a node has {most} children, those in training had at most {self.arity}")
            if not self.inner_words and _has_inner_words(tree):
                raise InputError(f"{source}: tree {n}: a node with children has a word, in training only leaves had one")
        return trees


@dataclass(frozen=True)
class _Parts:
    training: "Sequence[LabelledTree]"
    validation: "Sequence[LabelledTree]"
    test: "Sequence[LabelledTree]"
    names: list[str]  # of the trees of the test part


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network and its baseline, judge both on the held-out part and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, option or folder that cannot be used.
    """
    from carousel.data.trees import TreeLabels

    parts = _parts(settings)
    prepared, vectors = _prepare(parts, settings)
    test = _labelled_forest(prepared, parts.test, str(settings.test or settings.file))
    roots_only = settings.labels == "root"
    task = TreeLabels(parts.training, parts.validation, vocabulary=prepared.vocabulary, roots_only=roots_only)
    networks = {name: _network(name, prepared, settings, vectors) for name in settings.networks()}
    if settings.parse is not None:
        from carousel.data.sentences import SentenceLabels

        def of_sentences(own: _Parts) -> SentenceLabels:
            return SentenceLabels(own.training, own.validation, settings.reconstruction, vocabulary=prepared.vocabulary)

        sentences, task = task, of_sentences(parts)
    else:
        sentences = task
    fit = run.fitted(networks[settings.model], task, settings, out=out, resume=resume, progress=progress and settings.model)
    said = {settings.model: _logits(fit.cell, test[0])}
    for name in settings.networks()[1:]:
        if name != settings.model:
            # It has no folder of its own: a run that is resumed trains it again.
            trained = run.fitted(networks[name], sentences, settings, progress=progress and name)
            said = {name: _logits(trained.cell, test[0]), **said}
    for shape in () if settings.parse is None or settings.baseline == NONE else SHAPES:
        if shape != settings.parse:
            # The same network and sentences, along other trees.
            others = _parts(settings, shape)
            network = _network(AUTOENCODER, prepared, replace(settings, parse=shape), vectors)
            trained = run.fitted(network, of_sentences(others), settings, progress=progress and f"{shape} trees")
            answers = _logits(trained.cell, _labelled_forest(prepared, others.test, str(settings.file))[0])
            said = {f"{settings.model}, {shape} trees": answers, **said}
    rows, confusion = _judge(prepared, test, said)
    if settings.parse == "greedy":
        test = fit.cell.cpu().parse(test[0]), test[1]
        parts = replace(parts, test=_with_children(parts.test, test[0]))
    own = said[settings.model].softmax(1)
    result = Result(
        rows=rows,
        labels=list(prepared.labels),
        confusion=confusion,
        heights=_by_height(test, own),
        examples=_examples(prepared, parts, test, own),
        mistakes=_mistakes(prepared, parts, test, own),
        counts={"training": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)},
        seconds=fit.seconds,
        sequences=fit.sequences,
        stopped=fit.stopped,
        command=settings.command(out),
    )
    run.keep(Path(out), prepared.table(), asdict(result))
    return result


def load(folder: Run | Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished run on trees.
    """
    return Run.of(folder).load(Settings, Result.from_table)


def evaluate(folder: Run | Path | str, file: Path | str | None = None) -> list[dict[str, Any]]:
    """Scores of the network, and of always telling the most frequent label, on the held-out part or on another file.

    Raises:
        InputError: a run or a file that cannot be used; a label that was not there in training.
    """
    opened = Run.of(folder)
    settings, prepared = opened.settings(Settings), opened.prepared_as(TreePreprocessing.of)
    if file is None:
        opened.check_files(settings, "evaluate another file")
        trees, source = _parts(settings).test, str(settings.test or settings.file)
    else:
        trees, source = _read(Path(file), settings, settings.parse), str(file)
    forest = _labelled_forest(prepared, trees, source)
    rows, _ = _judge(prepared, forest, {settings.model: _logits(opened.network, forest[0])})
    return rows


def predict(folder: Run | Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
    """{"name", "label", "probability", "tree"} of each tree of a file: the label of its root, and the tree in brackets with the
    predicted label of each node; labels in the file are not looked at, and may be missing: ((It) (works))."""
    opened = Run.of(folder)
    settings, prepared = opened.settings(Settings), opened.prepared_as(TreePreprocessing.of)
    trees = prepared.checked(_read(Path(file), settings, settings.parse, with_labels=False), str(file))
    network = opened.network
    return ({"name": f"tree {n}", **_told(network, prepared, tree)} for n, tree in enumerate(trees, start=1))


def stream(folder: Run | Path | str) -> Callable[[str], str]:
    """A function from a line, one tree in brackets or as JSON, to a line of JSON: {"label", "probability", "tree"}.

    A blank line is answered by one.
    """
    import numpy as np

    from carousel.data.json_trees import parse_json_trees
    from carousel.data.sentences import as_tree
    from carousel.data.trees import parse_trees

    opened = Run.of(folder)
    settings, prepared, network = opened.settings(Settings), opened.prepared_as(TreePreprocessing.of), opened.network

    def answer(line: str) -> str:
        if not line.strip():
            return ""
        if settings.parse is not None:
            tree = as_tree(line.split(), None, _shape(settings.parse), np.random.default_rng(settings.seed))
            return json.dumps(_told(network, prepared, tree), ensure_ascii=False)
        parse = parse_json_trees if line.lstrip().startswith("{") else parse_trees
        trees = parse([line], HERE)
        if len(trees) != 1:
            raise InputError(f"expected one tree a line, got {len(trees)}")
        return json.dumps(_told(network, prepared, prepared.checked(trees, HERE)[0]), ensure_ascii=False)

    return answer


def read(path: Path) -> "list[LabelledTree]":
    """The trees of a file: JSON lines by its ending, else in brackets.

    Raises:
        InputError: a file that cannot be read, or what is no tree, with its line and column.
    """
    from carousel.data.json_trees import read_json_trees
    from carousel.data.trees import read_trees

    if path.is_dir():
        raise InputError(f"{path}: expected a file of trees, got a folder")
    return read_json_trees(path) if ending(path) in JSON else read_trees(path)


# --- The data --------------------------------------------------------------------------------------


def _shape(parse: str) -> str:
    """The trees that sentences begin with; greedy merging replaces them."""
    return "right" if parse == "greedy" else parse


def _read(path: Path, settings: Settings, parse: str | None, *, with_labels: bool = True) -> "list[LabelledTree]":
    """The trees of a file, or (with a shape or "greedy") its sentences as trees."""
    if parse is None:
        return read(path)
    import numpy as np

    from carousel.data.files import numbered_lines
    from carousel.data.jsonl import read_jsonl
    from carousel.data.sentences import as_tree

    if ending(path) in (*JSON, ".csv"):
        sequences = read_jsonl(path, with_labels=with_labels)
        if sequences.kind != "words":
            raise InputError(f"{path}: expected sentences, found {sequences.kind}")
        given = list(zip(sequences.items, sequences.labels, strict=True))
    else:
        given = []
        for number, line in numbered_lines(path):
            label, tab, text = line.partition("\t")
            if not tab and with_labels:
                raise InputError(f"{path}: line {number}: expected a label, a tab and a sentence; or use .csv or .jsonl")
            given.append(((text if tab else line).split(), label if tab else None))
    for n, (words, label) in enumerate(given, start=1):
        if not words or isinstance(label, list):
            raise InputError(f"{path}: sentence {n}: expected words and one label, found {'no word' if not words else 'several'}")
    generator = np.random.default_rng(settings.seed)
    return [as_tree(words, label, _shape(parse), generator) for words, label in given]


def _with_children(trees: "Sequence[LabelledTree]", forest: Any) -> "list[LabelledTree]":
    """The trees with the children that a forest of them has."""
    found = []
    for tree, start, stop in zip(trees, forest.starts, forest.starts[1:], strict=False):
        children = [[child - int(start) for child in own if child >= 0] for own in forest.children[start:stop].tolist()]
        found.append(replace(tree, children=children))
    return found


def _parts(settings: Settings, shape: str | None = None) -> _Parts:
    """The training, validation and test part. Every root has a label."""
    from carousel.data.classification import held_back
    from carousel.jobs.labelled import refuse_unread

    def labelled(path: Path) -> "list[LabelledTree]":
        trees = _read(path, settings, shape or settings.parse)
        for n, tree in enumerate(trees, start=1):
            if tree.labels[-1] is None:
                raise InputError(f"{path}: tree {n}: its root has no label; each tree to learn from must have one there")
        return trees

    if settings.test is not None:
        refuse_unread(settings, ["test_share"], "the test part is given otherwise")
    if settings.validation_file is not None:
        refuse_unread(settings, ["validation"], "the validation part is given otherwise")
    rest = labelled(settings.file)
    names = [f"tree {n + 1}" for n in range(len(rest))]
    if settings.test is not None:
        test = labelled(settings.test)
        names = [f"tree {n + 1}" for n in range(len(test))]
    else:
        kept, held = held_back([tree.labels[-1] for tree in rest], settings.test_share, settings.seed, "--test-share")
        test, rest, names = [rest[n] for n in held], [rest[n] for n in kept], [names[n] for n in held]
    if settings.validation_file is not None:
        return _Parts(rest, labelled(settings.validation_file), test, names)
    kept, held = held_back([tree.labels[-1] for tree in rest], settings.validation, settings.seed, "--validation")
    return _Parts([rest[n] for n in kept], [rest[n] for n in held], test, names)


def _prepare(parts: _Parts, settings: Settings) -> "tuple[TreePreprocessing, dict[str, Any]]":
    """What is learned of the data before the network, and the vectors of the words that have one."""
    from carousel.data.trees import TreeVocabulary
    from carousel.data.vectors import read_vectors

    own = TreeVocabulary.of(parts.training, settings.min_count)
    given = [*parts.training, *parts.validation, *([] if settings.test is not None else parts.test)]
    labels = sorted({label for tree in given for label in tree.labels if label is not None}, key=_by_number)
    if len(labels) < 2:
        raise InputError(f"{settings.file}: expected two labels or more, found {listed(labels)} only")
    vectors: dict[str, Any] = {}
    size, words = settings.embedding, own.words
    if settings.vectors is not None:
        everywhere = {word for tree in [*given, *parts.test] for word in tree.words if word is not None}
        length, vectors = read_vectors(settings.vectors, everywhere)
        if size not in (None, length):
            raise InputError(f"{settings.vectors}: its vectors have {length} numbers, --embedding is {size}; leave --embedding out")
        if not vectors:
            raise InputError(f"{settings.vectors}: none of the words of {settings.file} is in it")
        size, words = length, (*own.words, *sorted(set(vectors) - set(own.words)))
    trees = [*given, *parts.test]
    roots = Counter(tree.labels[-1] for tree in parts.training)
    nodes = Counter(label for tree in parts.training for label in tree.labels if label is not None)
    prepared = TreePreprocessing(
        words=tuple(words),
        labels=tuple(labels),
        usual=max(labels, key=lambda label: roots[label]),
        usual_node=max(labels, key=lambda label: nodes[label]),
        arity=max(max(map(len, tree.children)) for tree in trees) or 1,
        inner_words=any(map(_has_inner_words, trees)),
        input_size=settings.hidden if size is None else size,
    )
    return prepared, vectors


def _has_inner_words(tree: "LabelledTree") -> bool:
    return any(children and word is not None for children, word in zip(tree.children, tree.words, strict=True))


def _by_number(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def _network(name: str, prepared: TreePreprocessing, settings: Settings, vectors: dict[str, Any]) -> "Recursive":
    """The network of that name, untrained, its embedding from the vectors where there are any."""
    import torch

    from carousel.models import build_tree

    network = build_tree(
        name,
        prepared.vocabulary.size,
        len(prepared.labels),
        hidden=settings.hidden,
        embedding=prepared.input_size,
        arity=prepared.arity,
        inner_words=prepared.inner_words,
        dropout=settings.dropout,
        greedy=settings.parse == "greedy" and name == AUTOENCODER,
        seed=settings.seed,
    )
    numbers = {word: n + 2 for n, word in enumerate(prepared.words)}
    weight = next(network.embedding.parameters())  # type: ignore[union-attr]
    with torch.no_grad():
        for word, vector in vectors.items():
            weight[numbers[word]] = torch.from_numpy(vector)
    return network


Forested = tuple[Any, "Tensor"]
"""(forest, (n,) the class of each node, -1 for none)"""


def _labelled_forest(prepared: TreePreprocessing, trees: "Sequence[LabelledTree]", source: str) -> Forested:
    """The trees, of which at least one root has a label, and all labels were there in training."""
    try:
        forest, classes = prepared.vocabulary.forest(prepared.checked(trees, source))
    except InputError as error:
        raise InputError(f"{source}: {str(error).removeprefix(f'{source}: ')}") from None
    if not bool((classes[forest.roots] >= 0).any()):
        raise InputError(f"{source}: no tree has a label at its root; use carousel predict")
    return forest, classes


# --- What the network says -------------------------------------------------------------------------


def _logits(network: "Recursive", forest: Any) -> "Tensor":
    """(n, C) what the network says at each node."""
    import torch

    from carousel.batch import Batch

    network.eval()
    device = next(network.parameters()).device
    said, first = [], 0
    with torch.no_grad():
        while first < len(forest):
            last = first + 1
            while last < len(forest) and forest.starts[last + 1] - forest.starts[first] <= NODES_AT_ONCE:
                last += 1
            part = forest.select(range(first, last)).to(device)
            nothing = torch.zeros(part.nodes, dtype=torch.int64, device=device)
            outputs = network(Batch(part, nothing, nothing > 0, torch.ones(len(part))))[0]
            said.append((outputs[0] if isinstance(outputs, tuple) else outputs).cpu())
            first = last
    return torch.cat(said)


def _told(network: "Recursive", prepared: TreePreprocessing, tree: "LabelledTree") -> dict[str, Any]:
    from carousel.data.trees import bracketed
    from carousel.network import Autoencoder

    unlabelled = replace(tree, labels=[None] * len(tree.labels))
    forest, _ = prepared.vocabulary.forest([unlabelled])
    if isinstance(network, Autoencoder) and network.greedy:
        tree = _with_children([tree], network.parse(forest))[0]
    chance, best = _logits(network, forest).softmax(1).max(1)
    labels = [prepared.labels[n] for n in best.tolist()]
    return {"label": labels[-1], "probability": round(float(chance[-1]), 4), "tree": bracketed(replace(tree, labels=labels))}


def _judge(
    prepared: TreePreprocessing, forested: Forested, said: "dict[str, Tensor]"
) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """The table of scores, those of the most frequent labels first, and the last network's confusion over the roots."""
    import torch

    from carousel.data.classification import confusion, scores

    forest, truth = forested
    roots = forest.roots[truth[forest.roots] >= 0]
    nodes = truth >= 0
    C = len(prepared.labels)
    usual = torch.full_like(truth, prepared.labels.index(prepared.usual_node))
    usual[forest.roots] = prepared.labels.index(prepared.usual)
    predicted = {"most frequent label": usual, **{name: logits.argmax(1) for name, logits in said.items()}}
    rows, counts = [], None
    for name, answers in predicted.items():
        counts = confusion(truth[roots], answers[roots], C)
        of_nodes = float((truth == answers)[nodes].double().mean())
        rows.append({"method": name, **scores(counts), "accuracy of nodes": 100 * of_nodes})
    assert counts is not None
    return rows, counts.tolist()


def _by_height(forested: Forested, chances: "Tensor") -> list[dict[str, Any]]:
    """How right and how certain the network is at the nodes of each height, those that have a label."""
    import torch

    forest, truth = forested
    best, predicted = chances.max(1)
    heights = torch.from_numpy(forest.heights)
    found = []
    for height in range(int(heights.max()) + 1):
        here = (heights == height) & (truth >= 0)
        if n := int(here.sum()):
            right = float((predicted == truth)[here].double().mean())
            certainty = float(best[here].double().mean())
            found.append({"height": height, "nodes": n, "accuracy": round(100 * right, 3), "certainty": round(100 * certainty, 3)})
    return found


def _examples(prepared: TreePreprocessing, parts: _Parts, forested: Forested, chances: "Tensor") -> list[dict[str, Any]]:
    """Trees for a picture: the largest that fit, of those with a right root and of those with a wrong one, taking turns."""
    forest, truth = forested
    best, predicted = chances.max(1)
    right: dict[bool, list[int]] = {True: [], False: []}
    for b in sorted(range(len(forest)), key=lambda b: (-len(parts.test[b].children), b)):
        root = int(forest.roots[b])
        if len(parts.test[b].children) <= HIGHEST and truth[root] >= 0:
            right[bool(predicted[root] == truth[root])].append(b)
    turns = [b for pair in zip(right[True], right[False], strict=False) for b in pair]
    chosen = [*turns, *(b for b in (*right[True], *right[False]) if b not in turns)][:TREES_SHOWN]
    shown = []
    for b in chosen:
        own = range(int(forest.starts[b]), int(forest.starts[b + 1]))
        tree = parts.test[b]
        shown.append(
            {
                "name": parts.names[b],
                "children": tree.children,
                "words": tree.words,
                "truth": tree.labels,
                "predicted": [prepared.labels[int(predicted[n])] for n in own],
                "probability": [round(float(best[n]), 4) for n in own],
            }
        )
    return shown


def _mistakes(prepared: TreePreprocessing, parts: _Parts, forested: Forested, chances: "Tensor") -> list[dict[str, Any]]:
    """The twenty roots that were predicted wrong with the most confidence."""
    forest, truth = forested
    best, predicted = chances[forest.roots].max(1)
    wrong = ((predicted != truth[forest.roots]) & (truth[forest.roots] >= 0)).nonzero()[:, 0].tolist()
    found = []
    for b in sorted(wrong, key=lambda b: -float(best[b]))[:20]:
        text = " ".join(word for word in parts.test[b].words if word is not None)
        found.append(
            {
                "name": parts.names[b],
                "text": text if len(text) <= 60 else f"{text[:59]}…",
                "truth": prepared.labels[int(truth[forest.roots[b]])],
                "predicted": prepared.labels[int(predicted[b])],
                "probability": round(float(best[b]), 4),
            }
        )
    return found
