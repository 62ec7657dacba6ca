"""What litmus_host raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .forwarding import ForwardOutcome


class LitmusHostError(Exception):
    """Prints as the message and, where there is a remedy, a second line ``hint: …``."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class ReadError(LitmusHostError):
    """A run, a file or a data dir cannot be read."""


class RecordError(LitmusHostError):
    """A run cannot be recorded or sealed."""


class ForwardError(LitmusHostError):
    """A run did not arrive.

    ``exit_code`` is that of litmus-host: 1, runs stay behind; 2, the configuration is wrong; 3, the host itself failed.
    ``outcome`` says where each sink stands, if the host came so far.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        exit_code: int | None = None,
        outcome: ForwardOutcome | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.outcome = outcome
