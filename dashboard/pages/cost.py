"""What did a thousand answers cost, and at which price?"""

from analyzer.formatting import money
from analyzer.panels import View
from analyzer.schema import Price
from analyzer.tables import money as money_tables
from analyzer.tables.grid import Grid, columns
from analyzer.tables.runs import costs
from analyzer.wording import plain

TITLE = "Cost"
ORDER = 30
KINDS = ("run",)


def tables(view: View) -> list[Grid]:
    """The bill by phase, and the price with its source and its age."""
    found = view.analysis.cost
    if found is None:
        return []
    parts = [found.overall, *found.phases]
    grids = [costs(parts), money_tables.invoice(found), money_tables.rates(parts), money_tables.offers(found)]
    return [*(grid for grid in grids if grid.rows), *([_price(found.price)] if found.price else [])]


def _price(price: Price) -> Grid:
    words = (price.gpu, price.provider, price.sku, price.region, price.market, price.source, price.read_on)
    return Grid(
        title="The price that was used",
        columns=columns(">$ / GPU-hour", "GPU", "provider", "product", "region", "market", "source", "read on"),
        rows=((money(price.usd_per_gpu_hour), *(plain(word, 60) for word in words)),),
    )
