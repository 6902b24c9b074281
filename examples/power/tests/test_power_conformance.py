"""power keeps the contract of an application."""

from core.conformance import check_app


def test_conformance(tmp_path):
    check_app("power", tmp_path)
