"""The cells, one architecture a file."""

from carousel.cells.lstm import LSTM, LSTMState

__all__ = ["LSTM", "LSTMState"]
