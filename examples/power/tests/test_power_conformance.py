"""power keeps the contract of an application."""

from pathlib import Path

from unroll.conformance import check_app


def test_conformance(tmp_path: Path) -> None:
    check_app("power", tmp_path)
