import struct
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from unroll.apps.video import clips
from unroll.apps.video.clips import is_clip
from unroll.data import images
from unroll.errors import UserError


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi", "clip.mkv"])
def test_a_video_gives_its_frames(tmp_path, square, video, name):
    path = video(tmp_path / name, square())
    frames = clips.read(path, 32, 1)
    assert frames.shape == (8, 1, 32, 32) and frames.dtype == np.uint8
    assert np.abs(frames[:, 0].astype(int) - square()[..., 0]).mean() < 6
    assert clips.read(path, 16, 3).shape == (8, 3, 16, 16)
    assert np.array_equal(clips.read(path, 32, 1, every=3), frames[::3])


def test_colours_and_wide_frames(tmp_path, video):
    frames = np.zeros((4, 32, 64, 3), np.uint8)
    frames[:, :, 16:48] = (200, 40, 40)  # the middle square is red
    got = clips.read(video(tmp_path / "wide.mp4", frames), 32, 3)
    assert got.shape == (4, 3, 32, 32)
    assert got[:, 0, :, 4:28].min() > 150 and got[:, 1:, :, 4:28].max() < 90


def test_a_folder_of_frames_is_read_by_number_not_by_name(tmp_path, square, pictures):
    wanted = square(count=12)
    folder = pictures(tmp_path / "clip", wanted, first=0, name="shot2_{}.png")  # 10 would come before 2
    frames = clips.read(folder, 32, 3)
    assert np.array_equal(frames, wanted.transpose(0, 3, 1, 2))
    assert np.array_equal(clips.read(folder, 32, 3, every=5), frames[::5])


def test_a_gap_in_the_numbering_is_named(tmp_path, square, pictures):
    folder = pictures(tmp_path / "clip", square())
    (folder / "frame_4.png").unlink()
    with pytest.raises(UserError, match=r"clip: frame 4 is missing, between frame_3.png and frame_5.png"):
        clips.read(folder, 16, 1)
    (folder / "frame_5.png").unlink()
    with pytest.raises(UserError, match="frames 4 to 5 are missing"):
        clips.read(folder, 16, 1)


def test_numbers_twice_and_no_numbers_are_named(tmp_path, square, pictures):
    folder = pictures(tmp_path / "clip", square())
    Image.fromarray(square()[0]).save(folder / "frame_03.jpg")
    with pytest.raises(UserError, match=r"has the number of frame_(0?3)\."):
        clips.read(folder, 16, 1)
    (folder / "frame_03.jpg").rename(folder / "cover.jpg")
    with pytest.raises(UserError, match=r"cover.jpg: has no number in its name"):
        clips.read(folder, 16, 1)


def test_a_frame_of_another_size_or_damaged_is_named(tmp_path, square, pictures):
    folder = pictures(tmp_path / "clip", square())
    Image.new("RGB", (20, 30)).save(folder / "frame_6.png")
    with pytest.raises(UserError, match=r"frame_6.png: has 20 x 30 instead of 32 x 32 pixels"):
        clips.read(folder, 16, 1)
    (folder / "frame_6.png").write_bytes((folder / "frame_5.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"frame_6.png"):
        clips.read(folder, 16, 1)


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_a_truncated_video_is_named(tmp_path, square, video, name):
    path = video(tmp_path / name, square(count=40))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{name}: is truncated: holds [\d,]+ of the [\d,]+ bytes"):
        clips.read(path, 16, 1)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
def test_truncated_mp4s_are_named(tmp_path, square, video, options):
    path = video(tmp_path / "clip.mp4", square(count=40), **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"clip.mp4: is truncated: holds [\d,]+ of the [\d,]+ bytes that it declares"):
        clips.read(path, 16, 1)


def timed(path, pictures, rate, times):
    """A film whose pictures stand at these times, in parts 1/rate of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv", "clip.mp4"])
def test_a_complete_video_of_varying_frame_rate_is_read(tmp_path, square, name):
    path = timed(tmp_path / name, square(count=7), 60, [0, 1, 2, 3, 400, 9000, 9001])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        estimate = container.duration / 1_000_000 * (stream.guessed_rate or stream.average_rate)
        assert max(estimate, stream.frames) > 10 * 7 or name == "clip.mp4"  # MP4 lists its frames
    assert clips.read(path, 16, 1).shape == (7, 1, 16, 16)


def test_a_video_of_few_pictures_that_stand_long_is_read(tmp_path, square):
    path = timed(tmp_path / "slides.mkv", square(count=3), 25, [0, 250, 500])
    assert clips.read(path, 16, 1).shape == (3, 1, 16, 16)


ORIENTATIONS = {
    "as it is": ((1, 0, 0, 1), lambda frames: frames),
    "a quarter to the right": ((0, 1, -1, 0), lambda frames: np.rot90(frames, -1, (1, 2))),
    "upside down": ((-1, 0, 0, -1), lambda frames: np.rot90(frames, 2, (1, 2))),
    "a quarter to the left": ((0, -1, 1, 0), lambda frames: np.rot90(frames, 1, (1, 2))),
    "mirrored": ((-1, 0, 0, 1), lambda frames: frames[:, :, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda frames: frames[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda frames: frames.transpose(0, 2, 1, 3)),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_video_is_upright_as_players_show_it(tmp_path, square, video, name):
    """The matrix of an MP4's track (ISO 14496-12, 8.3.2) says how its pictures are turned."""
    (a, b, c, d), turned = ORIENTATIONS[name]
    frames = square()
    path = video(tmp_path / "phone.mp4", frames)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    assert content[at : at + 36] == struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    content[at : at + 24] = struct.pack(">6i", *(value << 16 for value in (a, b, 0, c, d, 0)))
    path.write_bytes(content)
    found = clips.read(path, 32, 3).transpose(0, 2, 3, 1).astype(int)
    assert np.abs(found - turned(frames)).mean() < 6
    if name.startswith(("a quarter", "upside")):  # PyAV's angle is that of a turn to the left
        with av.open(str(path)) as container:
            angle = next(container.decode(video=0)).rotation
        assert np.array_equal(turned(frames), np.rot90(frames, angle // 90, (1, 2)))


def test_lists_of_other_files_are_no_videos(tmp_path, square, video):
    video(tmp_path / "secret.mp4", square())
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(path)) as container:
        assert container.format.name == "concat"
    with pytest.raises(UserError, match=r"list.mp4: is not a video"):
        clips.read(path, 16, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"not a video at all " * 50, "is not a video"), (bytes(4000), "is not a video")],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"clip.mp4: {message}"):
        clips.read(path, 16, 1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.mp4: there is no such file"):
        clips.read(tmp_path / "none.mp4", 16, 1)


def test_a_sound_file_is_named(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match=r"sound.mkv: holds no pictures, only audio"):
        clips.read(path, 16, 1)


def test_the_cover_of_a_sound_file_is_no_clip(tmp_path, square):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("aac", rate=8000, layout="mono"), container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(cover.encode(av.VideoFrame.from_ndarray(square()[0], format="rgb24")))
        container.mux([*sound.encode(), *cover.encode()])
    with pytest.raises(UserError, match=r"song.mp4: holds no pictures, only audio"):
        clips.read(path, 16, 1)


def test_a_video_without_frames_is_named(tmp_path, square, video):
    path = video(tmp_path / "clip.avi", square()[:0])
    with pytest.raises(UserError, match=r"clip.avi: (holds no frames|is not a video)"):
        clips.read(path, 16, 1)


def test_a_video_whose_frames_change_their_size_is_read(tmp_path, square):
    path = tmp_path / "clip.mjpeg"  # JPEG pictures, one after the other
    with path.open("wb") as file:
        for size in (32, 32, 48, 64):
            Image.fromarray(square(count=1, size=size)[0]).save(file, format="JPEG")
    frames = clips.read(path, 16, 1)
    assert frames.shape == (4, 1, 16, 16)
    assert all(frame[0].max() > 150 and frame[0, -1, -1] < 60 for frame in frames)


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("clips.LONGEST", 20, "declares 40 frames, more than 20"),
        ("clips.MOST", 30_000, "declares 40 frames of 1,024 pixels"),
        ("images.LARGEST", 1000, "declares frames of 32 x 32 pixels"),
    ],
)
def test_an_enormous_video_is_refused_by_its_header(tmp_path, square, video, monkeypatch, limit, value, message):
    path = video(tmp_path / "clip.mp4", square(count=40, size=32, start=0)[:, :, :32])
    monkeypatch.setattr({"clips": clips, "images": images}[limit.split(".")[0]], limit.split(".")[1], value)
    monkeypatch.setattr(clips, "_decoded", None)  # nothing is decoded
    with pytest.raises(UserError, match=f"clip.mp4: {message}"):
        clips.read(path, 16, 1)


@pytest.mark.parametrize(
    ("limit", "value", "message"), [("LONGEST", 5, "has more than 5 frames"), ("MOST", 6000, "unpacks into more")]
)
def test_what_no_header_declares_is_bounded_too(tmp_path, square, monkeypatch, limit, value, message):
    path = tmp_path / "clip.mjpeg"
    with path.open("wb") as file:
        for frame in square():
            Image.fromarray(frame).save(file, format="JPEG")
    monkeypatch.setattr(clips, limit, value)
    monkeypatch.setattr(clips, "_check_declared", lambda *_: None)
    with pytest.raises(UserError, match=f"clip.mjpeg: {message}"):
        clips.read(path, 16, 1)


def test_without_pyav_there_is_a_line_and_folders_work(tmp_path, square, video, pictures, monkeypatch):
    path, folder = video(tmp_path / "clip.mp4", square()), pictures(tmp_path / "clip", square())
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"clip.mp4: reading video files needs PyAV; .*unroll\[video\]"):
        clips.read(path, 16, 1)
    assert clips.read(folder, 16, 1).shape == (8, 1, 16, 16)


def test_frames_in_memory_are_those_of_the_folder(tmp_path, square, pictures):
    frames = square()
    wanted = clips.read(pictures(tmp_path / "clip", frames), 16, 1, every=2)
    for given in (frames, list(frames), tuple(map(Image.fromarray, frames)), frames / 255.0):
        assert is_clip(given)
        assert np.array_equal(clips.taken(given, 16, 1, every=2), wanted)
    assert np.array_equal(clips.taken(frames[..., 0], 32, 1)[:, 0], frames[..., 0])


def test_frames_that_cannot_be_are_one_line(square):
    odd = [*square(), np.zeros((4, 4, 3), np.uint8)]
    with pytest.raises(UserError, match="input 2, frame 8: has 4 x 4 instead of 32 x 32 pixels"):
        clips.taken(odd, 16, 1, name="input 2")
    with pytest.raises(UserError, match=r"input 2, frame 0: its fractions lie between 0\.0 and 30\.0"):
        clips.taken(np.linspace(0, 30, 64).reshape(1, 8, 8), 16, 1, name="input 2")
    with pytest.raises(UserError, match="input 2: holds no frames"):
        clips.taken(np.zeros((0, 8, 8)), 16, 1, name="input 2")
    with pytest.raises(UserError, match="input 2: is empty; name a video file"):
        clips.taken(" ", 16, 1, name="input 2")


@pytest.mark.parametrize("given", [[], [3], np.zeros((8, 8)), np.zeros((1, 8, 8, 2)), np.zeros((1, 1, 8, 8, 3))])
def test_what_is_no_clip(given):
    assert not is_clip(given)
