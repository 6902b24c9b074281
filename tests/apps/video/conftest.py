"""Small generated clips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unroll.apps.video import APP
from unroll.data.store import Store

FRAMES = ["train.task=predict_frames", "model.cell=convgru", "data.context=3", "data.horizon=4", "model.hidden=8"]


@pytest.fixture
def square():
    """Frames [T, Y, X, 3] of a bright square that moves one pixel to the right each time."""

    def made(count=8, size=32, start=4):
        frames = np.full((count, size, size, 3), 30, np.uint8)
        for step, frame in enumerate(frames):
            frame[8:20, start + step : start + step + 12] = 220
        return frames

    return made


@pytest.fixture
def video():
    """Writes frames [T, Y, X, 3] to a file, MPEG-4 unless told otherwise."""
    av = pytest.importorskip("av")

    def write(path: Path, frames, codec="mpeg4", **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            container.start_encoding()  # the header is there even without a frame
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture
def pictures():
    """Writes frames [T, Y, X, 3] as numbered pictures into a folder."""

    def write(folder: Path, frames, first=1, name="frame_{}.png"):
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames, start=first):
            Image.fromarray(frame).save(folder / name.format(number))
        return folder

    return write


@pytest.fixture(scope="package")
def made(tmp_path_factory):
    """By task: (application, config, data, fresh model)."""
    store, found = Store(tmp_path_factory.mktemp("video")), {}
    for task, settings in {"classify": [], "predict_frames": FRAMES}.items():
        config = APP.config("smoke", ["data.clips=40", *settings])
        APP.prepare(config, store)
        data = APP.data(config, store)
        torch.manual_seed(0)
        found[task] = (APP.with_score_for(config), config, data, APP.model(config, data.facts).eval())
    return found
