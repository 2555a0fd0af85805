"""The one exception that means: what was given is at fault, and here is the remedy."""


class InputError(ValueError):
    """A file, an option or a shape that cannot be used.

    The message is one line that names the thing, the place and the remedy; the command line
    prints it and exits with status 2.
    """
