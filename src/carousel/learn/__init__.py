"""The learning rules, one a file, and what they share. A rule is an object beside the network."""

from carousel.learn.bptt import BPTT
from carousel.learn.divergence import Diverged
from carousel.learn.learner import Learner
from carousel.learn.online import OnlineCell, OnlineState, OnlineStep, as_batch, half_squared_error, side_by_side, stream
from carousel.learn.optimizers import OPTIMIZERS, GravesRMSprop, optimizer_by_name
from carousel.learn.portable_adam import PortableAdam
from carousel.learn.rtrl import RTRL
from carousel.learn.truncated1997 import Truncated1997
from carousel.learn.weight_guessing import Guess, WeightGuessing
from carousel.network import objective

__all__ = [
    "BPTT",
    "OPTIMIZERS",
    "RTRL",
    "Diverged",
    "GravesRMSprop",
    "Guess",
    "Learner",
    "OnlineCell",
    "OnlineState",
    "OnlineStep",
    "PortableAdam",
    "Truncated1997",
    "WeightGuessing",
    "as_batch",
    "half_squared_error",
    "objective",
    "optimizer_by_name",
    "side_by_side",
    "stream",
]
