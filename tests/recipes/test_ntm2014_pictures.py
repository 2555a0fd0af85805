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


def test_the_prediction_drawn_is_that_of_a_network_with_a_memory():
    def row(name, output, **heads):
        answer = {"target": [[1], [0]], "output": [[output], [output]], "optimum": [[0.5], [0.5]]}
        return {"row": name, "runs": [{"picture": {"answers": [answer], **heads}}]}

    rows = [row("lstm", 0.1), row("ntm-lstm", 0.2, heads={})]
    for given, title, value in ((rows, "ntm-lstm", 0.2), (rows[:1], "lstm", 0.1)):
        (axes,) = ntm2014_pictures.draw_predictions(given).axes
        (network,) = (line for line in axes.lines if line.get_label() == "network")
        assert axes.get_title() == title
        assert set(network.get_ydata()) == {value}
