"""How a use case says no: the wish can never be granted as it stands, or not in the state things are in.

Pure. A refusal carries a stable code that programs may branch on and a sentence that names the cure; nothing was changed when
one is raised.
"""

from collections.abc import Sequence

from farmd.domain.catalog import Problem


class Unacceptable(Exception):
    """The request itself is wrong: `problems` holds everything that can be told, each at its field."""

    def __init__(self, code: str, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.code, self.problems = code, tuple(problems)


class NotNow(Exception):
    """The request is fine and the state of things forbids it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail
