"""What pip must install for a saved model to run elsewhere."""

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, version

from packaging.requirements import Requirement
from packaging.version import Version

from unroll.app import ENTRY_POINTS

OURS, EXTRA = "unroll", "apps"


def requirements(app: str) -> list[str]:
    """Pip requirements: this package, the application's package, and the versions of their dependencies.

    A package that was installed from a folder, a file or a repository is given by its location: an index may have
    another package of that name, or none.
    """
    ours = distribution(OURS)
    theirs = next((entry.dist for entry in entry_points(group=ENTRY_POINTS) if entry.name == app), None)
    named = [_place(ours, f"{OURS}[{EXTRA}]"), *([_place(theirs, theirs.name)] if theirs else [])]
    return [*dict.fromkeys(named), *_pinned(ours)]


def _place(package: Distribution, name: str) -> str:
    """Where pip installed it from, by PEP 610; only the name if that was an index."""
    found = json.loads(package.read_text("direct_url.json") or "{}")
    if not found:
        return f"{name}=={package.version}"
    vcs = found.get("vcs_info")
    return f"{name} @ {vcs['vcs']}+{found['url']}@{vcs['commit_id']}" if vcs else f"{name} @ {found['url']}"


def _pinned(package: Distribution) -> list[str]:
    """The installed versions of all dependencies, without a build tag such as +cpu, which no index has."""
    wanted = [Requirement(text) for text in package.requires or ()]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": EXTRA})]
    pinned = []
    for one in here:
        try:
            pinned.append(f"{one.name}=={Version(version(one.name)).public}")
        except PackageNotFoundError:  # not used here
            continue
    return sorted(dict.fromkeys(pinned))
