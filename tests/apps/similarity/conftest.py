"""A small table of pairs, and what is prepared from it."""

from unroll.apps.similarity import APP
from unroll.data.store import Store

ROWS = [
    ("train", "A man, riding.", "A horse's rider", 4, "NEUTRAL"),
    ("train", "One", "two", 1, ""),
    ("train", "one man", "two men", 3, "ENTAILMENT"),
    ("val", "One zebra", "one man", 2, ""),
    ("test", "two men", "A man", 5, "CONTRADICTION"),
]


def table(tmp_path, rows=ROWS):
    lines = ["split,a,b,score,label", *(f'{s},"{a}","{b}",{score},{label}' for s, a, b, score, label in rows)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


def prepared(tmp_path, *settings, rows=ROWS):
    path = table(tmp_path, rows)
    own = [f"data.path={path}", "data.source=csv", "data.low=1", "data.high=5", "model.hidden=4", "model.embedding=6"]
    config, store = APP.config("smoke", [*own, *settings]), Store(tmp_path / "store")
    APP.prepare(config, store)
    return config, APP.data(config, store)
