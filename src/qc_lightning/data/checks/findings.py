"""Results of the checks of a dataset."""

from dataclasses import dataclass, field


def counted(count: int, things: str, one: str = "is", several: str = "are") -> str:
    """A count with its noun and verb.

    >>> counted(1, "photo"), counted(2, "photo"), counted(1, "pair of photos", "looks", "look")
    ('1 photo is', '2 photos are', '1 pair of photos looks')
    """
    noun, _, rest = things.partition(" ")
    return f"{count} {noun if count == 1 else noun + 's'}{' ' if rest else ''}{rest} {one if count == 1 else several}"


@dataclass(frozen=True)
class Finding:
    """One photo flagged by a check.

    Attributes:
        path: the photo's name below the root.
        other: in a check of pairs the other photo, else a word on what was found, or empty.
        value: how much, in the check's own unit; None if there is nothing to measure.
    """

    path: str
    other: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Check:
    """One check and its result.

    Attributes:
        name: identifier, such as border_colour.
        flagged: whether a person should look.
        text: one sentence on what was found, or on why the check could not be made.
        value: the check's figure, with its 95% interval from `low` to `high`; None if it has none.
        low: lower end of the interval.
        high: upper end of the interval.
        findings: the photos that it points at.
        pairs: whether each finding is about two photos.
        made: false when the check could not be made.
    """

    name: str
    flagged: bool
    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    findings: list[Finding] = field(default_factory=list)
    pairs: bool = False
    made: bool = True

    @classmethod
    def not_made(cls, name: str, why: str) -> "Check":
        """A check that was impossible, with the reason in one sentence."""
        return cls(name, False, why, made=False)

    @property
    def result(self) -> str:
        """`look`, `fine`, or `not checked`."""
        if not self.made:
            return "not checked"
        return "look" if self.flagged else "fine"

    @property
    def photos(self) -> int:
        """Number of photos concerned."""
        return len({name for finding in self.findings for name in (finding.path, finding.other)[: 1 + self.pairs]})
