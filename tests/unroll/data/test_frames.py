import numpy as np
import pytest

from unroll.data.files import read_jsonl, write_jsonl
from unroll.data.frames import FrameSequences, FrameWriter, open_frames

SEQUENCES = [np.arange(count * 6).reshape(count, 2, 3) for count in (4, 1, 0, 7)]


@pytest.fixture
def written(tmp_path):
    with FrameWriter(tmp_path / "frames", np.uint8) as file:
        records = [{"id": number, **file.add(frames)} for number, frames in enumerate(SEQUENCES)]
    write_jsonl(tmp_path / "records.jsonl", records)
    return tmp_path


@pytest.fixture
def sequences(written):
    frames = open_frames(written / "frames", np.uint8, (2, 3))
    return FrameSequences(frames, list(read_jsonl(written / "records.jsonl")))


def test_the_file_holds_the_frames_and_nothing_else(written):
    assert (written / "frames").read_bytes() == np.concatenate(SEQUENCES).astype(np.uint8).tobytes()


def test_every_sequence_comes_back_with_its_record(sequences):
    assert len(sequences) == 4
    assert sequences.lengths == [4, 1, 0, 7]
    for (record, frames), (number, wanted) in zip(sequences, enumerate(SEQUENCES), strict=True):
        assert record["id"] == number
        np.testing.assert_array_equal(frames, wanted)


def test_a_batch_is_its_sequences(sequences):
    found = sequences.__getitems__([3, 0])
    assert [record["id"] for record, _ in found] == [3, 0]
    np.testing.assert_array_equal(found[1][1], SEQUENCES[0])


def test_a_record_may_name_a_part(written):
    frames = open_frames(written / "frames", np.uint8, (2, 3))
    [(_, part)] = FrameSequences(frames, [{"start": 6, "frames": 3}])
    np.testing.assert_array_equal(part, SEQUENCES[3][1:4])


def test_what_is_read_may_be_written_to_and_the_file_stays(sequences, written):
    before = (written / "frames").read_bytes()
    sequences[0][1][:] = 0
    assert (written / "frames").read_bytes() == before
    np.testing.assert_array_equal(sequences[0][1], SEQUENCES[0])


def test_values_are_kept_in_the_type_of_the_file(tmp_path):
    with FrameWriter(tmp_path / "frames", np.float16) as file:
        file.add(np.array([[0.1, 0.2]]).T[:, ::-1])
    np.testing.assert_array_equal(open_frames(tmp_path / "frames", np.float16, (1,)), np.float16([[0.1], [0.2]]))
