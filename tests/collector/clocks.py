"""A clock that only moves when a test tells it to."""

from collector.health import Clock

EPOCH_NS = 1_790_000_000_000_000_000


class FakeClock:
    """Stands still until moved; the wall may be set, and the machine suspended, apart from that."""

    def __init__(self) -> None:
        self.elapsed_s = 100.0
        self.asleep_s = 0.0
        self.wall_offset_s = 0.0
        #: What passes between two looks at the clock.
        self.between_reads_s = 0.0

    def move(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def suspend(self, seconds: float) -> None:
        self.asleep_s += seconds

    def _monotonic(self) -> float:
        self.elapsed_s += self.between_reads_s
        return self.elapsed_s

    @property
    def clock(self) -> Clock:
        return Clock(
            now_ns=lambda: EPOCH_NS + round((self.elapsed_s + self.asleep_s + self.wall_offset_s) * 1e9),
            monotonic=self._monotonic,
            boottime=lambda: self.elapsed_s + self.asleep_s,
        )
