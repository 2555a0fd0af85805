"""What is drawn of the Neural Turing Machine's experiments; the pictures themselves are drawn in test_ntm2014.py."""

import torch

from carousel.recipes import ntm2014_pictures


def test_the_rows_of_the_memory_that_are_touched():
    weightings = torch.zeros(3, 10)
    for t, n in enumerate((9, 0, 2)):
        weightings[t, n] = 1
    assert ntm2014_pictures.touched(weightings) == [8, 9, 0, 1, 2, 3]
    assert ntm2014_pictures.touched(torch.ones(3, 4)) == [0, 1, 2, 3]
    assert ntm2014_pictures.touched(torch.zeros(3, 4)) == [0, 1, 2, 3]
