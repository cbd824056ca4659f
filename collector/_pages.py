"""Find a server's page of metrics and read it. Private to what asks a server."""

from dataclasses import replace
from typing import TypeAlias
from urllib.parse import urlencode

from collector import dialects, scrape
from collector._endpoint import Endpoint, NotHereError, UnansweredError
from collector.engines import Plugin
from collector.errors import UserError
from collector.scrape import Scrape

#: A path, and the port where it is not the endpoint's own.
_Place: TypeAlias = tuple[str, int | None]

#: Where servers keep their page: most, NIM, trtllm-serve, and Triton beside its HTTP port.
PLACES: tuple[_Place, ...] = (
    ("/metrics", None),
    ("/v1/metrics", None),
    ("/prometheus/metrics", None),
    ("/metrics", 8002),
)
#: While no place has a page only the first is asked, and all of them every so many readings.
SEARCH_EVERY = 30


class Pages:
    """Finds the server's page of metrics and reads it."""

    def __init__(self, endpoint: Endpoint, chosen: tuple[str, Plugin] | None = None) -> None:
        self.endpoint, self._chosen = endpoint, chosen
        self._places: tuple[_Place, ...] = tuple((endpoint.path + path, port) for path, port in PLACES)
        if endpoint.path.endswith("/metrics"):
            self._places = ((endpoint.path, None),)
        self._found: _Place | None = None
        self._searched = 0
        self._glances = True

    @property
    def glances(self) -> bool:
        """Whether ``glance`` may have an answer."""
        return self._glances and self._found is not None

    def glance(self, t_ns: int, plugin: tuple[str, Plugin]) -> Scrape | None:
        """What changes fast, from a page of the families that are one number each; None where the server has none.

        Servers on Prometheus' own Python client (vLLM, SGLang) answer ``?name[]=`` with those families alone. A whole
        page takes vLLM 17 ms on a busy H200 host, holding up tokens for as long; this one 2.5 ms.

        Raises:
            UnansweredError: The server does not answer.
        """
        if self._found is None or not self._glances:
            return None
        families, quantities = dialects.single(plugin[1])
        path, port = self._found
        # With the slash, past the plain route that vLLM also has, which knows no query.
        asked = f"{path}/?{urlencode([('name[]', family) for family in families])}"
        self.endpoint.start()
        try:
            _, page = self._at((asked, port), t_ns, plugin)
        except (NotHereError, UserError):
            page = None
        # A server that heeds no query writes the whole page.
        if page is None or page.histograms:
            self._glances = False
            return None
        return replace(page, values={name: value for name, value in page.values.items() if name in quantities})

    def read(self, t_ns: int) -> tuple[str, Scrape]:
        """The page, and what it says.

        Raises:
            UnansweredError, UserError: There is none; the message says why.
        """
        self.endpoint.start()
        if self._found:
            try:
                return self._at(self._found, t_ns)
            except (NotHereError, UserError):
                # Another server may have taken its place; where the page was is still asked first.
                others = [place for place in self._places if place != self._found]
                self._places, self._found, self._searched = (self._found, *others), None, 0
                self._glances = True
                raise
        places = self._places if self._searched % SEARCH_EVERY == 0 else self._places[:1]
        first: Exception | None = None
        for place in places:
            try:
                found = self._at(place, t_ns)
            except (UnansweredError, UserError) as error:
                first = first or error
                if not isinstance(error, NotHereError | UserError):
                    break
            else:
                self._found = place
                return found
        self._searched += isinstance(first, NotHereError | UserError)
        raise first or AssertionError

    def _at(self, place: _Place, t_ns: int, chosen: tuple[str, Plugin] | None = None) -> tuple[str, Scrape]:
        page = self.endpoint.get(*place)
        # The format ends every line; a number that was cut off is another number.
        if not page.endswith("\n"):
            raise NotHereError("the server's answer is no whole page of metrics")
        return page, scrape.read(page, t_ns, chosen or self._chosen)
