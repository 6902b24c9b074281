"""The benchmark of recurrent networks runs end to end, at tiny sizes; its figures are not checked."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.cases import QUICK, SECTIONS, agree
from benchmarks.peers import Training, inference, pair, work
from benchmarks.recurrence import bench
from unroll.errors import UsageError, UserError


@pytest.mark.parametrize("section", ["lengths", "scan", "streaming"])
def test_a_section_is_measured_and_written(section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = bench(section, quick=True, out=tmp_path)
    written = json.loads((tmp_path / "recurrence.json").read_text())
    [record] = written["sections"]
    assert record["section"] == section and len(record["load"]["before"]) == 3
    cases = list(SECTIONS[section](QUICK))
    assert [case["case"] for case in record["cases"]] == [case.name for case in cases]
    for case in record["cases"]:
        for run in case["runs"].values():
            assert len(run["rounds"]) >= 7 and run["seconds"] > 0 and run["share"] > 0
        for one in case["ratios"].values():
            assert one["low"] <= one["middle"] <= one["high"]
    assert (tmp_path / "recurrence.png").read_bytes().startswith(b"\x89PNG")
    assert found["ratios"] and found["machine"]["threads"] == torch.get_num_threads()
    printed = capsys.readouterr().out
    assert "load average" in printed and "torch.mm" in printed and cases[0].name in printed


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_everybody_computes_the_same(kind: str) -> None:
    theirs, ours = pair(kind, 8)
    x = torch.randn(5, 3, 8)
    ways = inference(kind, theirs, ours, x)
    assert {"Recurrent", "nn", "nn cell, loop", "NumPy"} <= set(ways)
    for way in ways.values():
        agree(torch.as_tensor(way()), theirs(x)[0])


def test_other_results_are_not_compared() -> None:
    with pytest.raises(AssertionError, match="not close"):
        agree(torch.zeros(3), torch.ones(3))


def test_training_gives_gradients_to_all_and_starts_anew_each_time() -> None:
    theirs, ours = pair("GRU", 8)
    x = torch.randn(5, 3, 8)
    run = Training(ours, x)
    run()
    assert run.x.grad is not None and x.grad is None
    once = [parameter.grad.clone() for parameter in ours.parameters() if parameter.grad is not None]
    run()
    assert len(once) == len(list(theirs.parameters()))
    for before, parameter in zip(once, ours.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before)


def test_work_is_that_of_the_matrix_products() -> None:
    lstm = nn.LSTM(3, 5)  # 4 x 5 x (3 + 5) weights
    assert work(lstm, 7, training=False) == 2 * 160 * 7
    assert work(lstm, 7, training=True) == 6 * 160 * 7


def test_an_unknown_section_an_impossible_number_and_a_folder_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only trainig: unknown; did you mean training"):
        bench("trainig", quick=True, out=tmp_path)
    with pytest.raises(UsageError, match="--threads -1"):
        bench("lengths", quick=True, threads=-1, out=tmp_path)
    with pytest.raises(UsageError, match="--clock sun: unknown; known: processor, wall"):
        bench("lengths", quick=True, clock="sun", out=tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken: File exists; give a writable folder"):
        bench("lengths", quick=True, out=tmp_path / "taken")
