"""What runs were made with: code, machine, device, backends. None of it is a setting, and all of it may differ."""

from collections import Counter
from collections.abc import Sequence

from unroll.tracking import RESUMED, Logged, made_by

SHOWN = 4
"""values that are named"""


def circumstances(runs: Sequence[Logged]) -> list[str]:
    """A note for each circumstance in which runs differ, within a group or between groups."""
    return [
        *_code(runs),
        *_differing("trained on {} devices", [run.tags.get("device") for run in runs]),
        *_differing("trained on {} kinds of machine", [run.tags.get("machine") for run in runs]),
        *_differing("computed by {} sets of backends", [_kinds(run) for run in runs]),
    ]


def _differing(words: str, values: Sequence[str | None]) -> list[str]:
    """Runs that do not say what it was are left out."""
    counts = Counter(value for value in values if value)
    if len(counts) < 2:
        return []
    named = "; ".join(f"{value} ({number} runs)" for value, number in counts.most_common(SHOWN))
    return [f"these runs were {words.format(len(counts))}: {named}{'; ...' if len(counts) > SHOWN else ''}"]


def _kinds(run: Logged) -> str:
    """The backends of a run without the names of the cells that they ran: these differ by themselves."""
    return " and ".join(sorted({part.rpartition(": ")[2] for part in run.tags.get("backends", "").split(", ")}))


def _code(runs: Sequence[Logged]) -> list[str]:
    notes = []
    codes = {code for run in runs for code in made_by(run) if code}
    if len(codes) > 1:
        notes.append(f"these runs were made by {len(codes)} versions of the code")
    resumed = sum(RESUMED in run.tags for run in runs)
    if resumed:
        notes.append(f"{resumed} of {len(runs)} runs were resumed with other code than they had begun with")
    dirty = sum(run.tags.get("git.dirty") == "True" for run in runs)
    if dirty and (dirty < len(runs) or len(codes) > 1):
        notes.append(f"{dirty} of {len(runs)} runs had changes that were not committed: their commit is not their code")
    return notes
