"""The learning rules, one a file, and what they share. A rule is an object beside the network."""

from carousel.learn.bptt import BPTT
from carousel.learn.finite import Diverged
from carousel.learn.learner import Learner, objective
from carousel.learn.optimizers import OPTIMIZERS, GravesRMSprop, optimizer_by_name

__all__ = ["BPTT", "OPTIMIZERS", "Diverged", "GravesRMSprop", "Learner", "objective", "optimizer_by_name"]
