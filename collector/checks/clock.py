"""The clock: one for every sample, so a wrong one puts a run apart from its traces and its server's log."""

from datetime import UTC, datetime

from collector.checks import Found, Topic
from collector.checks._world import ServerPage, World

TITLE = "Clock"

#: No clock that is right says an earlier time than when this was written.
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
#: Clocks of one machine, read one after the other, are nearer than this.
_SLACK_S = 1.0
_GRANT = "set the clock (timedatectl set-ntp true)"


def check(world: World) -> Found:
    """One finding."""
    topic, now_s = Topic("clock", "collector"), world.now_ns / 1e9
    started_s = world.page.scrape.started_s if isinstance(world.page, ServerPage) else None
    if now_s < _WRITTEN.timestamp():
        yield topic.degraded(f"this machine's clock says {datetime.fromtimestamp(now_s, UTC):%Y-%m-%d}", _GRANT)
    elif started_s is not None and started_s > now_s + _SLACK_S:
        ahead = f"the server says that it started {started_s - now_s:.3g} s from now: its clock and this one differ"
        yield topic.degraded(ahead, _GRANT, server_started_s=started_s)
    else:
        yield topic.ok("nothing contradicts it", now_s=now_s)
