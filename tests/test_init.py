"""The package's own names."""

import carousel


def test_every_public_name_is_there() -> None:
    for name in carousel.__all__:
        assert getattr(carousel, name) is not None
    assert set(carousel.__all__) <= set(dir(carousel))
