"""Synthetic problems, one a file."""

from __future__ import annotations

from carousel.task import Task
from carousel.tasks.adding import Adding
from carousel.tasks.associative_recall import AssociativeRecall
from carousel.tasks.balanced_parentheses import BalancedParentheses
from carousel.tasks.copy import Copy
from carousel.tasks.counting import Counting
from carousel.tasks.delayed_nonmatch import DelayedNonmatch
from carousel.tasks.delayed_xor import DelayedXOR
from carousel.tasks.dynamic_ngrams import DynamicNGrams
from carousel.tasks.latch import Latch
from carousel.tasks.long_lag import LongLag
from carousel.tasks.multiplication import Multiplication
from carousel.tasks.nested import NestedExpressions
from carousel.tasks.parity import Parity
from carousel.tasks.pipelined_xor import PipelinedXOR
from carousel.tasks.priority_sort import PrioritySort
from carousel.tasks.reber import EmbeddedReber
from carousel.tasks.repeat_copy import RepeatCopy
from carousel.tasks.temporal_order import TemporalOrder
from carousel.tasks.two_sequences import TwoSequences
from carousel.tasks.very_long_lag import VeryLongLag

__all__ = [
    "TASKS",
    "Adding",
    "AssociativeRecall",
    "BalancedParentheses",
    "Copy",
    "Counting",
    "DelayedNonmatch",
    "DelayedXOR",
    "DynamicNGrams",
    "EmbeddedReber",
    "Latch",
    "LongLag",
    "Multiplication",
    "NestedExpressions",
    "Parity",
    "PipelinedXOR",
    "PrioritySort",
    "RepeatCopy",
    "TemporalOrder",
    "TwoSequences",
    "VeryLongLag",
]

TASKS: dict[str, type[Task]] = {
    "copy": Copy,
    "repeat-copy": RepeatCopy,
    "associative-recall": AssociativeRecall,
    "dynamic-n-grams": DynamicNGrams,
    "priority-sort": PrioritySort,
    "embedded-reber": EmbeddedReber,
    "long-lag": LongLag,
    "very-long-lag": VeryLongLag,
    "two-sequences": TwoSequences,
    "adding": Adding,
    "multiplication": Multiplication,
    "temporal-order": TemporalOrder,
    "delayed-xor": DelayedXOR,
    "parity": Parity,
    "latch": Latch,
    "counting": Counting,
    "pipelined-xor": PipelinedXOR,
    "delayed-nonmatch": DelayedNonmatch,
    "balanced-parentheses": BalancedParentheses,
    "nested-expressions": NestedExpressions,
}
"""name -> class; each makes the task of its source when called without arguments."""
