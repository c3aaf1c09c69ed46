"""A configuration that cannot be used. Here alone, so that whoever only catches it need not load what checks a configuration."""

from collections.abc import Iterable


class ConfigError(ValueError):
    """`problems` holds every complaint, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - 1
        super().__init__(self.problems[0] + (f" (and {more} more: `farmd doctor` lists them)" if more else ""))
