"""The kernel of large products: tiles of every height give a row the same bits."""

import ctypes

import pytest
import torch

from carousel.engine.native import tiles

DTYPES = {"float": torch.float32, "double": torch.float64}


def product(kind, lanes, W, x):
    """W x of every row by the kernel, with W (m, k) packed into panels as matvec.py does."""
    (m, k), width = W.shape, tiles.PANEL * lanes
    panels = -(-m // width)
    packed = torch.zeros(panels * width, k, dtype=W.dtype)
    packed[:m] = W
    packed = packed.reshape(panels, width, k).transpose(1, 2).contiguous()
    y = torch.full((len(x), panels * width), float("nan"), dtype=W.dtype)
    library = tiles.library(kind, lanes)
    words = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 4]
    kernel = ctypes.CFUNCTYPE(None, *words)(library.addresses[tiles.name(kind, lanes)])
    kernel(y.data_ptr(), y.shape[1], packed.data_ptr(), x.data_ptr(), k, len(x), panels, k)
    return y[:, :m]


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("bits", [128, 256, 512])
def test_a_row_does_not_depend_on_the_rows_beside_it(kind, bits):
    lanes = bits // 8 // tiles.SIZES[kind]
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(5 * tiles.PANEL * lanes + 3, 37, generator=draw, dtype=DTYPES[kind])
    x = torch.randn(2 * 12 + 3, 37, generator=draw, dtype=DTYPES[kind])
    alone = torch.cat([product(kind, lanes, W, row[None]) for row in x])
    torch.testing.assert_close(alone, x @ W.T)
    for rows in range(1, len(x) + 1):
        assert torch.equal(product(kind, lanes, W, x[:rows]), alone[:rows]), rows


def test_the_tallest_tile_is_one_of_them():
    assert tiles.height("float", 16) == tiles.height("double", 8) == 12
    assert tiles.height("float", 8) == tiles.height("double", 2) == 6
