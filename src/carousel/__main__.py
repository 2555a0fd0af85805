"""``python -m carousel``: the same command line as ``carousel``."""

from carousel.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
