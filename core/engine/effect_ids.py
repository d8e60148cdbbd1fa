"""Numbers of effects, by which a shell's results are matched to their effects."""


class EffectIds:
    """Issues numbers.

    Attributes:
        upcoming: The number that the next effect gets.
    """

    def __init__(self) -> None:
        self.upcoming = 1

    def issue(self) -> int:
        """Return a number that no other effect has."""
        issued = self.upcoming
        self.upcoming += 1
        return issued
