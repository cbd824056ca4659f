"""What the samples of a source hold, and why not more. Private."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from collector.checks import Finding, Topic
from collector.schema import Absent, Sample

#: That nothing is limited is an answer, not a gap.
_NO_LIMIT = ": no limit is set"


def figures(samples: Iterable[Sample]) -> Iterator[Finding]:
    """For each subject that its figures are whole, or each reason why some are not there."""
    for sample in samples:
        topic = Topic("figures", sample.subject)
        reasons: dict[str, list[str]] = defaultdict(list)
        for name, value in sample.values.items():
            if isinstance(value, Absent) and not value.reason.endswith(_NO_LIMIT):
                reasons[value.reason].append(name)
        for reason, names in reasons.items():
            made = topic.missing if len(names) == len(sample.values) else topic.degraded
            yield made(reason, quantities=tuple(names))
        if not reasons:
            yield topic.ok("every figure is read")
