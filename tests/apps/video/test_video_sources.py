import numpy as np
import pytest

from unroll.apps.video import APP, data
from unroll.apps.video.sources import folder, moving_mnist
from unroll.data.store import Store
from unroll.errors import UserError


@pytest.fixture
def clips(tmp_path, square, video, pictures):
    """Two classes: five folders of frames each, and a video in one of them."""
    root = tmp_path / "own"
    for label in ("jump", "run"):
        for number in range(5):
            pictures(root / label / f"take{number}", square(count=4 + number))
    video(root / "run" / "film.mp4", square(count=9))
    return root


def read(path, **options):
    return list(folder.source(path, 16, 1, 1, **options).read())


def test_classes_clips_and_splits_of_a_folder(clips):
    found = read(clips)
    assert sorted(clip.id for clip in found) == sorted(
        [f"{label}/take{n}" for label in ("jump", "run") for n in range(5)] + ["run/film.mp4"]
    )
    assert all(clip.label == clip.id.split("/")[0] and clip.frames.shape[1:] == (1, 16, 16) for clip in found)
    for split, counts in {"train": (3, 4), "val": (1, 1), "test": (1, 1)}.items():
        labels = [clip.label for clip in found if clip.split == split]
        assert (labels.count("jump"), labels.count("run")) == counts
    again = {clip.id: clip.split for clip in read(clips)}
    assert again == {clip.id: clip.split for clip in found}


def test_the_spec_changes_with_the_content(clips, square, pictures):
    before = folder.source(clips, 16, 1, 1).spec
    assert before == folder.source(clips, 16, 1, 1).spec
    pictures(clips / "run" / "take0", square(count=4, start=5))
    assert folder.source(clips, 16, 1, 1).spec != before


def test_given_splits_are_kept(tmp_path, square, pictures):
    for name in ("train/a/1", "train/a/2", "train/a/3", "train/b/1", "train/b/2", "train/b/3", "test/a/9", "test/b/9"):
        pictures(tmp_path / name, square(count=3))
    found = {clip.id: clip.split for clip in read(tmp_path)}
    assert {name for name, split in found.items() if split == "test"} == {"test/a/9", "test/b/9"}
    assert sorted(split for name, split in found.items() if name.startswith("train")) == ["train"] * 4 + ["val"] * 2
    for name in ("val/a/5", "val/b/5"):
        pictures(tmp_path / name, square(count=3))
    found = {clip.id: clip.split for clip in read(tmp_path)}
    assert {name for name, split in found.items() if split == "val"} == {"val/a/5", "val/b/5"}
    assert sum(split == "train" for split in found.values()) == 6


def test_no_class_is_called_train(clips):
    (clips / "run").rename(clips / "train")
    with pytest.raises(
        UserError, match=r"jump: lies beside train, by name a split; .* if train is a class, give it an"
    ):
        read(clips)


def test_splits_by_other_names_and_leftovers(tmp_path, square, pictures):
    for name in ("take 1", "ünd 2", "take3"):
        for label in ("jump", "run"):
            for split in ("Training", "valid"):
                pictures(tmp_path / split / label / name, square(count=3))
    pictures(tmp_path / "valid" / "run" / "@eaDir", square(count=3))
    pictures(tmp_path / "__MACOSX" / "Training" / "jump" / "take 1", square(count=3))
    found = {clip.id: clip.split for clip in read(tmp_path)}
    assert sorted(found.values()) == ["test"] * 2 + ["train"] * 4 + ["val"] * 6
    assert all(id.startswith("Training/") for id, split in found.items() if split != "val")
    said, copied = folder.source(tmp_path, 16, 1, 1).notes[:2]
    assert copied.startswith("8 of 8 in val and test are in train too, byte for byte (valid/jump/take 1 is Training/")
    assert said == f"{tmp_path}: splits train (jump 3, run 3), val (jump 3, run 3); test drawn from train"


def test_without_classes_clips_lie_anywhere(clips):
    found = read(clips, labelled=False)
    assert len(found) == 11 and {clip.label for clip in found} == {""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root, put: put(root / "run", 1), "run: holds pictures beside its clips"),
        (lambda root, put: put(root, 1), "frame_1.png: lies beside the classes"),
        (lambda root, put: (root / "run" / "take9").mkdir(), "take9: holds no frames"),
        (lambda root, put: [put(root / "swim" / name, 2) for name in "ab"], "swim: holds 2 clips; a class needs three"),
        (lambda root, put: (root / "jump" / "take1" / "frame_2.png").unlink(), "take1: frame 2 is missing"),
    ],
)
def test_what_is_wrong_in_a_folder_is_named(clips, square, pictures, change, message):
    change(clips, lambda path, count: pictures(path, square(count=count)))
    with pytest.raises(UserError, match=message):
        read(clips)


def test_no_path_and_a_wrong_path_are_named(tmp_path):
    with pytest.raises(UserError, match=r"add data\.path=FOLDER"):
        folder.source(None, 16, 1, 1)
    with pytest.raises(UserError, match="none: is not a folder"):
        folder.source(tmp_path / "none", 16, 1, 1)


def config(*settings):
    return APP.config("smoke", ["data.source=folder", *settings])


def prepared(tmp_path, clips, *settings):
    chosen, store = config(f"data.path={clips}", *settings), Store(tmp_path / "store")
    APP.prepare(chosen, store)
    return APP.data(chosen, store)


def test_a_folder_is_trained_on(tmp_path, clips):
    found = prepared(tmp_path, clips, "data.colour=true")
    assert found.facts == {"classes": ["jump", "run"], "channels": 3, "size": 16}
    batch = next(iter(found.train))
    assert batch.frames.shape[1:] == (7, 3, 16, 16) and batch.lengths.max() == len(batch.frames)
    model = APP.model(config("data.colour=true"), found.facts)
    assert APP.step(model, batch, None).loss.isfinite()


def test_short_clips_are_left_out_of_prediction_and_long_ones_cut(tmp_path, clips, square, pictures):
    for name in ("jump/long", "run/longer", "jump/longest"):
        pictures(clips / name, square(count=14))
    windows = ["train.task=predict_frames", "data.context=2", "data.horizon=3"]
    found = prepared(tmp_path, clips, *windows)
    rows = [
        row
        for split in (found.train, found.val, found.test)
        for row, *_ in map(split.dataset.__getitem__, range(len(split.dataset)))
    ]
    assert {row["frames"] for row in rows} == {5} and len({row["id"] for row in rows}) == len(rows)
    assert sum(row["id"].startswith("jump/long, frames") for row in rows) == 2
    assert "left out, fewer than 5 frames: 2 clips" in found.notes[-1]
    with pytest.raises(UserError, match=f"^data.path={clips}: in the train split no clip has 23 frames"):
        prepared(tmp_path, clips, windows[0], "data.context=20", "data.horizon=3")


def test_a_class_that_training_has_not_is_named(tmp_path, square, pictures):
    for name in ("train/a/1", "train/b/1", "val/a/1", "val/b/1", "test/a/1", "test/bb/1"):
        pictures(tmp_path / "own" / name, square(count=3))
    with pytest.raises(UserError, match=r"test/bb: no such class in .*train; did you mean b"):
        prepared(tmp_path, tmp_path / "own")


def sequences(path, shape=(6, 20, 16, 16), dtype=np.uint8):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    np.save(path, array)
    return array


def test_moving_mnist_in_the_users_own_file(tmp_path):
    array = sequences(tmp_path / "mnist_test_seq.npy")
    found = list(moving_mnist.source(Store(tmp_path), tmp_path / "mnist_test_seq.npy", 16).read())
    assert [clip.split for clip in found] == ["train"] * 16 + ["val"] * 2 + ["test"] * 2
    assert all(np.array_equal(clip.frames[:, 0], array[:, n]) for n, clip in enumerate(found))
    smaller = next(iter(moving_mnist.source(Store(tmp_path), tmp_path / "mnist_test_seq.npy", 8).read()))
    assert smaller.frames.shape == (6, 1, 8, 8)


def test_the_preset_of_moving_mnist_trains_on_it(tmp_path):
    sequences(tmp_path / "own.npy", (20, 10, 64, 64))
    chosen = APP.config("moving-mnist", [f"data.path={tmp_path / 'own.npy'}", "model.hidden=4", "train.batch=20"])
    store = Store(tmp_path / "store")
    APP.prepare(chosen, store)
    found = APP.data(chosen, store)
    assert next(iter(found.train)).frames.shape == (20, 1, 1, 64, 64)
    assert APP.step(APP.model(chosen, found.facts), next(iter(found.train)), None).loss.isfinite()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((20, 16, 16), np.uint8), ((6, 20, 16, 16), np.float32), ((6, 4, 16, 16), np.uint8)]
)
def test_another_shape_or_type_is_named(tmp_path, shape, dtype):
    sequences(tmp_path / "own.npy", shape, dtype)
    with pytest.raises(UserError, match=rf"own.npy: holds {shape[0]} x .*{np.dtype(dtype).name}.*20 x 10000 x 64 x 64"):
        moving_mnist.source(Store(tmp_path), tmp_path / "own.npy", 16)


def test_truncated_pickled_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "own.npy"
    sequences(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"own.npy: is not an intact .npy file"):
        moving_mnist.source(Store(tmp_path), path, 16)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"own.npy: is not an intact .npy file"):
        moving_mnist.source(Store(tmp_path), path, 16)
    path.write_bytes(b"frames")
    with pytest.raises(UserError, match=r"own.npy: is not an intact .npy file"):
        moving_mnist.source(Store(tmp_path), path, 16)


def test_windows_follow_each_other():
    pieces = list(data._pieces({"id": "x", "start": 100, "frames": 11}, 5))
    assert [(piece["start"], piece["frames"]) for piece in pieces] == [(100, 5), (105, 5)]
    assert [piece["id"] for piece in pieces] == ["x, frames 1 to 5", "x, frames 6 to 10"]
