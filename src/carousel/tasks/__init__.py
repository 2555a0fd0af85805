"""Synthetic problems, one a file."""

from __future__ import annotations

from carousel.task import Task
from carousel.tasks.associative_recall import AssociativeRecall
from carousel.tasks.copy import Copy
from carousel.tasks.dynamic_ngrams import DynamicNGrams
from carousel.tasks.priority_sort import PrioritySort
from carousel.tasks.repeat_copy import RepeatCopy

__all__ = ["TASKS", "AssociativeRecall", "Copy", "DynamicNGrams", "PrioritySort", "RepeatCopy"]

TASKS: dict[str, type[Task]] = {
    "copy": Copy,
    "repeat-copy": RepeatCopy,
    "associative-recall": AssociativeRecall,
    "dynamic-n-grams": DynamicNGrams,
    "priority-sort": PrioritySort,
}
"""name -> class; each makes the task of its source when called without arguments."""
