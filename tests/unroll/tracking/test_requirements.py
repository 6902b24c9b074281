"""A saved model's requirements can be installed by pip: named by their origin, with public versions."""

import json
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from unroll.tracking import requirements as module


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """unroll as it would be installed from a place, needing torch, of a build, and what is not here."""

    def made(place: dict[str, Any] | None) -> None:
        info = tmp_path / "unroll-0.1.0.dist-info"
        info.mkdir()
        needs = ["torch>=2", "nowhere>=1; extra == 'apps'", "mlflow>=3; extra == 'apps'", "ruff; extra == 'dev'"]
        lines = ["Metadata-Version: 2.1", "Name: unroll", "Version: 0.1.0", *(f"Requires-Dist: {one}" for one in needs)]
        (info / "METADATA").write_text("\n".join(lines))
        if place is not None:
            (info / "direct_url.json").write_text(json.dumps(place))
        found = PathDistribution(info)
        monkeypatch.setattr(module, "distribution", lambda name: found)
        monkeypatch.setattr(module, "version", lambda name: versions[name])

    class Versions(dict[str, str]):
        def __missing__(self, name: str) -> str:
            raise module.PackageNotFoundError(name)

    versions = Versions(torch="2.13.0+cpu", mlflow="3.17.2", ruff="1")
    return made


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (None, "unroll[apps]==0.1.0"),
        ({"url": "file:///home/me/unroll", "dir_info": {}}, "unroll[apps] @ file:///home/me/unroll"),
        (
            {"url": "https://host/unroll.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "unroll[apps] @ git+https://host/unroll.git@abc",
        ),
    ],
    ids=["index", "folder", "repository"],
)
def test_what_is_named_can_be_installed(installed: Any, place: dict[str, Any] | None, named: str) -> None:
    installed(place)
    assert module.requirements("speech") == [named, "mlflow==3.17.2", "torch==2.13.0"]


def test_the_package_of_an_application_is_named_too(installed: Any, tmp_path: Path, monkeypatch: Any) -> None:
    installed(None)
    info = tmp_path / "stranger-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[unroll.apps]\nstrange = stranger:APP\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module.requirements("strange")[1] == "stranger==1.2"
    assert "stranger==1.2" not in module.requirements("speech")


def test_what_is_here_is_read_by_pip() -> None:
    found = [Requirement(text) for text in module.requirements("speech")]
    assert found[0].name == "unroll" and {"torch", "mlflow"} <= {one.name for one in found}
