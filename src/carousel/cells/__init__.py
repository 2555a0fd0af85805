"""The cells, one architecture a file."""

from carousel.cells.bag_of_words import BagOfWords, BagOfWordsState
from carousel.cells.dropout import Dropout
from carousel.cells.elman import Elman
from carousel.cells.embedding import Embedding
from carousel.cells.fully_recurrent import FullyRecurrent
from carousel.cells.gru import GRU
from carousel.cells.learned_start import LearnedStart
from carousel.cells.lstm import LSTM, LSTMState
from carousel.cells.lstm1997 import LSTM1997, LSTM1997State
from carousel.cells.mean import Mean
from carousel.cells.mgu import MGU
from carousel.cells.ntm import NTM, NTMState
from carousel.cells.recursive import RNTN, RecursiveNet
from carousel.cells.recursive_autoencoder import AutoencoderState, RecursiveAutoencoder
from carousel.cells.tree_gru import TreeGRU
from carousel.cells.tree_lstm import ChildSumTreeLSTM, NaryTreeLSTM
from carousel.cells.window import Window

__all__ = [
    "GRU",
    "LSTM",
    "LSTM1997",
    "MGU",
    "NTM",
    "RNTN",
    "AutoencoderState",
    "BagOfWords",
    "BagOfWordsState",
    "ChildSumTreeLSTM",
    "Dropout",
    "Elman",
    "Embedding",
    "FullyRecurrent",
    "LSTM1997State",
    "LSTMState",
    "LearnedStart",
    "Mean",
    "NTMState",
    "NaryTreeLSTM",
    "RecursiveAutoencoder",
    "RecursiveNet",
    "TreeGRU",
    "Window",
]
