"""A collector at work: sources, store, exposition and HTTP, put together and kept going until told to stop."""

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from collector import sources
from collector.exposition import Exposition
from collector.health import Clock
from collector.options import Options
from collector.plugins import discover
from collector.sampler import Sampler
from collector.schema import Engine, Gpu, Run
from collector.server import MetricsServer
from collector.store import RunWriter

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
    _stop: threading.Event = field(default_factory=threading.Event)
    _reload: Options | None = None
    _sampler: Sampler | None = None
    _told: dict[str, str] = field(default_factory=dict)

    def stop(self) -> None:
        """End ``run`` within two seconds; safe to call from a signal handler."""
        self._stop.set()

    def reload(self, options: Options) -> None:
        """Use other options from the next second on; the address and the run folder stay as they are."""
        self._reload = options

    def run(self) -> None:
        """Collect until stopped.

        Raises:
            UserError: The address cannot be bound, or the run folder cannot be made.
        """
        began = self.clock.monotonic()
        with ExitStack() as cleanup:
            exposition = Exposition(gpus=self.gpus, compat_dcgm=self.options.compat_dcgm, clock=self.clock)
            server = self._server(exposition)
            cleanup.callback(server.close)
            writer = self._writer(cleanup)
            sampler = self._begin(writer, exposition)
            self.say(f"metrics: {server.url}/metrics")
            while not self._stop.wait(STEP_S):
                sampler.step()
                self._tell(sampler)
                if self._reload is not None:
                    sampler.stop()
                    self.options, self._reload = self._reload, None
                    sampler = self._begin(writer, exposition)
                if self.options.duration_s and self.clock.monotonic() - began >= self.options.duration_s:
                    break
            sampler.stop()
            if writer is not None:
                writer.close(self.clock.now_ns())

    def _begin(self, writer: RunWriter | None, exposition: Exposition) -> Sampler:
        """Start to read with the options as they are now."""
        sampler = Sampler(discover(sources), self.options, writer=writer, observe=exposition.observe, clock=self.clock)
        exposition.health = {name: runner.health for name, runner in sampler.runners.items()}
        sampler.start()
        self._sampler = sampler
        return sampler

    def _writer(self, cleanup: ExitStack) -> RunWriter | None:
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
        writer = cleanup.enter_context(RunWriter.create(self.options.run, run))
        self.say(f"recording: {self.options.run}")
        return writer

    def _server(self, exposition: Exposition) -> MetricsServer:
        registry = CollectorRegistry()
        registry.register(exposition)
        probes = {"/healthz": lambda: (True, "alive"), "/readyz": self._ready}
        return MetricsServer(self.options.listen, registry, probes)

    def _ready(self) -> tuple[bool, str]:
        """Ready once one source has been read and the store takes what it is given."""
        if self._sampler is None:
            return False, "starting"
        if self._sampler.store_fault:
            return False, self._sampler.store_fault
        readable = [name for name, runner in self._sampler.runners.items() if runner.health.success]
        return bool(readable), f"reading {', '.join(readable)}" if readable else "no source could be read yet"

    def _tell(self, sampler: Sampler) -> None:
        """Say once what changed for the worse, and that it is well again."""
        now = {"store": sampler.store_fault}
        now |= {name: runner.health.reason for name, runner in sampler.runners.items() if runner.health.read_s}
        for name, reason in now.items():
            if reason != self._told.get(name, ""):
                self.say(f"{name}: {reason or 'well again'}")
            self._told[name] = reason
