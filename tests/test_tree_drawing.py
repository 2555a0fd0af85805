"""Where the nodes of a drawn tree stand, and that a deep tree is drawn."""

from carousel.tree_drawing import colors_of, draw_tree, places


def test_leaves_stand_in_their_order_and_nodes_above_their_middle():
    # ((a b) (c d)) with its nodes in an order of their own
    x, height = places([[], [], [0, 1], [], [], [3, 4], [2, 5]])
    assert x == [0.0, 1.0, 0.5, 2.0, 3.0, 2.5, 1.5]
    assert height == [0, 0, 1, 0, 0, 1, 2]


def test_a_tree_is_drawn_with_its_words_and_labels():
    children = [[], []] + [[], []] * 1 + [[0, 1], [4, 2], [5, 3]]
    words = ["not", "a", "good", "film", None, None, None]
    figure = draw_tree(children, words, ["0", "2", "4", "2", "2", "4", "0"], [0.5] * 7, ["0", "2", "4"], ["0"] * 7)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["not", "a", "good", "film"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "2", "4", "differs from the file"]
    assert len(set(colors_of(["0", "2", "4"]).values())) == 3


def test_depth_has_no_limit():
    n = 5000
    children = [[] for _ in range(n)] + [[0, 1]] + [[n + k, k + 2] for k in range(n - 2)]
    x, height = places(children)
    assert height[-1] == n - 1
    assert x[:3] == [0.0, 1.0, 2.0]
