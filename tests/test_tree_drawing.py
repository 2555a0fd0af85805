"""A drawn tree: its words and labels, and that depth has no limit."""

from carousel.tree_drawing import colors_of, draw_tree


def test_leaves_stand_in_their_order_and_nodes_above_their_middle():
    # ((not a) (good film)), its nodes in an order of their own
    children = [[], [], [0, 1], [], [], [3, 4], [2, 5]]
    words = ["not", "a", None, "good", "film", None, None]
    colors = colors_of(["0", "2", "4"])
    assert len(set(colors.values())) == 3
    figure = draw_tree(children, words, ["0"] * 7, ["0", "2", "2", "4", "2", "4", "0"], [0.5] * 7, colors)
    (axes,) = figure.axes
    shown = [text for text in axes.texts if text.get_text() in colors]
    assert [(text.get_text(), text.get_position()) for text in shown[:3]] == [
        ("0", (1.5, 2.0)),
        ("2", (0.5, 1.0)),
        ("0", (0.0, 0.0)),
    ]
    below = [text for text in axes.texts if text.get_text() not in colors]
    assert [text.get_text() for text in sorted(below, key=lambda text: text.xy[0])] == ["not", "a", "good", "film"]


def test_depth_has_no_limit():
    n = 1500
    children = [[] for _ in range(n)] + [[0, 1]] + [[n + k, k + 2] for k in range(n - 2)]
    nodes = len(children)
    figure = draw_tree(children, ["w"] * n + [None] * (n - 1), [None] * nodes, ["a"] * nodes, [1.0] * nodes, {"a": "#ff0000"})
    assert max(text.get_position()[1] for text in figure.axes[0].texts) == n - 1
