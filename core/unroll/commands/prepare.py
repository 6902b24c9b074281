"""`invoke prepare`: sources -> verified, prepared splits. Does nothing if they exist."""

import time
from collections.abc import Sequence
from typing import Any

from unroll import app as apps
from unroll.console import say
from unroll.data.store import Store


def prepare(
    names: Sequence[str], preset: str | None = None, settings: Sequence[str] = (), force: bool = False
) -> dict[str, Any]:
    """Prepare the data of each application; with `force`, even if they exist."""
    results = []
    for name in names:
        app = apps.load(name)
        config, store, began = app.config(preset or "default", settings), Store(), time.monotonic()
        app.prepare(config, Store(force=force))
        data = app.data(config, store)
        seconds = time.monotonic() - began
        for note in data.notes:
            say(f"note: {note}")
        say(f"{name}: {config.data.source} is prepared in {store.root} ({seconds:.1f} s), digest {data.digest[:12]}")
        results.append({"app": name, "source": config.data.source, "digest": data.digest, "seconds": round(seconds, 2)})
    return results[0] if len(results) == 1 else {"prepared": results}
