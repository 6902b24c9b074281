"""A small shop whose clicks are known."""

from unroll.apps.recommend import data, preparation
from unroll.apps.recommend.sources import table
from unroll.data.store import Store

DAY = 86_400
ITEMS = "item,title,kind\na,Apple,fruit\nb,Bread,food\nc,Corn,food\nz,Plum,fruit\nnever,Pear,fruit\n"


def shop(folder, items=""):
    """Three days of sessions of two and three clicks over items a, b, c; z occurs on the last day only."""
    rows = ["session,item,time"]
    for session in range(30):
        start = session // 10 * DAY + session * 100
        third = "z" if session >= 20 else "c"
        rows += [f"s{session:02},{item},{start + 10 * place}" for place, item in enumerate(["a", "b", third])]
    (folder / "log.csv").write_text("\n".join(rows))
    if items:
        (folder / "items.csv").write_text(items)
    return table.source(folder / "log.csv", folder / "items.csv" if items else None)


def prepared(folder, items="", **options):
    defaults = {"protocol": None, "days": 1.0, "support": 1, "features": False}
    return preparation.prepare(Store(folder / "store"), shop(folder, items), **{**defaults, **options})


def loaded(ready, **options):
    return data.batches(ready, **{"mode": "sessions", "rows": 4, "steps": 3, "seed": 0, **options})
