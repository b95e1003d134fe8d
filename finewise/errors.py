"""The one exception that users are meant to read."""


class InputError(ValueError):
    """A mistake in what the user gave: a setting, a file, a folder, a model.

    The message is one clear line: what is wrong, where (file, row, key), and what to do. Entry points print it without a
    traceback and exit with status 2; every other exception is a fault of ours and keeps its traceback.
    """


class ReportedError(InputError):
    """An InputError of the first of several processes, raised in the others too: they end without printing it again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is: batch systems and containers end a process by it."""
