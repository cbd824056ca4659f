"""A collector at work: sources, run folder, exposition and HTTP, put together and kept going until told to stop."""

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from prometheus_client import CollectorRegistry

from collector import sources
from collector.errors import UserError
from collector.exposition import Exposition
from collector.health import Clock
from collector.identity import Identifier, check
from collector.options import Options
from collector.plugins import discover
from collector.price import Price
from collector.recorder import Recorder
from collector.sampler import Sampler
from collector.schema import Engine, Gpu, Run
from collector.server import MetricsServer
from collector.store import Record

#: What was read is stored and exported this often, so that a killed collector loses no more.
STEP_S = 1.0


@dataclass
class Service:
    """One collector. ``run`` blocks until ``stop`` is called or the duration is over."""

    options: Options
    #: Told once, in sentences: where it answers, what it records, which source cannot be read and why.
    say: Callable[[str], None]
    gpus: tuple[Gpu, ...] = ()
    engine: Engine | None = None
    clock: Clock = field(default_factory=Clock)
    #: The options as they would be read now; raises ``UserError``.
    read_options: Callable[[], Options] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _reload: threading.Event = field(default_factory=threading.Event)
    _sampler: Sampler | None = None
    _recorder: Recorder | None = None
    _told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing runs yet."""
        self._exposition = Exposition(gpus=self.gpus, clock=self.clock)
        self._identifier = Identifier(self.options, self.engine, self.clock)

    def stop(self) -> None:
        """End ``run`` within two seconds; safe to call from a signal handler."""
        self._stop.set()

    def reload(self) -> None:
        """Read the options again within a second; safe to call from a signal handler."""
        self._reload.set()

    def run(self) -> None:
        """Collect until stopped.

        Raises:
            UserError: A source does not exist, the address cannot be bound, the run folder cannot be made, or the
                disk refuses the end of the run.
        """
        began = self.clock.monotonic()
        sampler = self._sampler_for(self.options)
        with ExitStack() as cleanup:
            server = self._server()
            cleanup.callback(server.close)
            recorder = self._recorder = self._record()
            if recorder is not None:
                cleanup.callback(recorder.close)
            self._begin(sampler)
            self.say(f"metrics: {server.url}/metrics")
            while not self._stop.wait(STEP_S):
                sampler.step()
                self._tell(sampler)
                if self._reload.is_set():
                    self._reload.clear()
                    sampler = self._reread(sampler)
                if self.options.duration_s and self.clock.monotonic() - began >= self.options.duration_s:
                    break
            sampler.stop()
            if recorder is not None:
                recorder.close(self.clock.now_ns())

    def _sampler_for(self, options: Options) -> Sampler:
        """A sampler that has not begun; raises ``UserError`` where the options name a source that does not exist."""
        return Sampler(discover(sources), options, take=self._take, lost_records=self._lost_records, clock=self.clock)

    def _begin(self, sampler: Sampler) -> None:
        """Read with the options as they are now."""
        self._exposition.compat_dcgm = self.options.compat == "dcgm"
        self._exposition.price = self._price()
        self._exposition.health = {name: runner.health for name, runner in sampler.runners.items()}
        sampler.start()
        self._sampler = sampler

    def _price(self) -> Price | None:
        """The price as the options have it now; what was counted under the same one is kept."""
        options, before = self.options, self._exposition.price
        billed = len(self.gpus) if options.billed_gpus is None else options.billed_gpus
        if options.price_per_gpu_hour_usd is None:
            return None
        if not billed:
            self.say("no cost is exported: no GPU is seen, so tell how many are billed with billed_gpus")
            return None
        usd_per_hour = options.price_per_gpu_hour_usd * billed
        return before if before is not None and before.usd_per_hour == usd_per_hour else Price(usd_per_hour)

    def _reread(self, sampler: Sampler) -> Sampler:
        """Go on with the options as they are read now; with those that were used where there is a mistake in them."""
        try:
            options = self.options if self.read_options is None else self.read_options()
            check(options)
            fresh = self._sampler_for(options)
        except UserError as error:
            self.say(f"kept the options as they were: {error}")
            return sampler
        for name in ("run", "listen"):
            before, after = getattr(self.options, name), getattr(options, name)
            if before != after:
                self.say(f"{name} stays {before or 'unset'}: only a restart changes it to {after or 'unset'}")
                options = replace(options, **{name: before})
        sampler.stop()
        self.options = options
        if self._recorder is not None:
            self._recorder.options = options
        self._identifier.options = options
        self._begin(fresh)
        self.say("using the options as they are now")
        return fresh

    def _take(self, records: list[Record]) -> None:
        """Show and record what one second brought."""
        engine = self._identifier.look(records)
        if engine is not None:
            records = [*records, engine[1]]
            self.say(f"engine: {' '.join(filter(None, (engine[0].name, engine[0].version, engine[0].model)))}")
        self._exposition.observe(records)
        if self._recorder is not None:
            if engine is not None:
                self._recorder.describe(engine[0])
            self._recorder.record(records)

    def _lost_records(self) -> int:
        return self._recorder.lost_records if self._recorder is not None else 0

    def _record(self) -> Recorder | None:
        if self.options.run is None:
            return None
        run = Run(
            run_id=secrets.token_hex(8),
            started_ns=self.clock.now_ns(),
            gpus=self.gpus,
            engine=self.engine,
            cpu_cores=os.cpu_count(),
            provenance="recorded by inferometer collect",
        )
        recorder = Recorder(self.options.run, run, self.options, self.clock)
        self.say(f"recording: {self.options.run}")
        return recorder

    def _server(self) -> MetricsServer:
        registry = CollectorRegistry()
        registry.register(self._exposition)
        probes = {"/healthz": lambda: (True, "alive"), "/readyz": self._ready}
        return MetricsServer(self.options.listen, registry, probes)

    def _ready(self) -> tuple[bool, str]:
        """Ready once one source has been read and the run folder takes what it is given."""
        if self._sampler is None:
            return False, "starting"
        if self._recorder is not None and self._recorder.fault:
            return False, self._recorder.fault
        readable = [name for name, runner in self._sampler.runners.items() if runner.health.success]
        return bool(readable), f"reading {', '.join(readable)}" if readable else "no source could be read yet"

    def _tell(self, sampler: Sampler) -> None:
        """Say once what changed for the worse, and that it is well again."""
        now = {"store": self._recorder.fault if self._recorder is not None else "", "rates": sampler.slowed}
        now |= {name: runner.health.reason for name, runner in sampler.runners.items() if runner.health.read_s}
        for name, reason in now.items():
            if reason != self._told.get(name, ""):
                self.say(f"{name}: {reason or 'well again'}")
            self._told[name] = reason
