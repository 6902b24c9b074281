"""Bad inputs, generated: the command, the files on disk, and what the one line must say."""

import gzip
import io
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

Make = Callable[[Path], Path]
"""(an empty folder) -> the file or folder in it that the command names as {path}"""


class Fault(NamedTuple):
    """A command that must be refused."""

    words: str
    """after `invoke`; {path} is what `make` has made"""
    said: str
    """what the line must hold, as a regular expression; {name} is the file's own name"""
    make: Make | None = None
    code: int = 1

    @property
    def id(self) -> str:
        """A name for the test report."""
        return self.words if self.make is None else f"{self.words} # {self.make.__name__}"


def holding(content: bytes | str, name: str) -> Make:
    """A file of that content."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    make.__name__ = f"{name} of {len(content)}"
    return make


def named(text: str) -> Callable[[Make], Make]:
    def decorate(make: Make) -> Make:
        make.__name__ = text
        return make

    return decorate


def nowhere(folder: Path) -> Path:
    return folder / "nowhere"


def empty_folder(folder: Path) -> Path:
    return folder


APPS = ("captioning", "image", "language", "recommend", "similarity", "speech", "translation", "video")
UTF16 = "a sentence\tof two\n".encode("utf-16-le")
"""without the byte order mark that would say so"""
LATIN = b"caf\xe9 au lait\tmilk\n" * 20
GZIP_CUT = gzip.compress(b"a\tb\n" * 5000, mtime=0)[:-20]
BOMB = gzip.compress(bytes(80 << 20), mtime=0)
"""80 KiB that come to 80 MiB"""


UNREAD = (
    ("captioning", "data.images=x", "data.source=flickr8k"),
    ("captioning", "decode.groups=3", "decode.method=diverse"),
    ("image", "data.colour=true", "data.source=folder"),
    ("image", "train.noise=0.5", "train.task=denoise"),
    ("image", "model.patch=4", "model.order=patches"),
    ("language", "data.held_out=0.2", "data.source=file"),
    ("language", "evaluate.cache_weight=0.2", "evaluate.cache!=0"),
    ("recommend", "data.items=x", "data.source=csv"),
    ("recommend", "loss.penalty=2.0", "loss.name=bpr-max"),
    ("similarity", "data.low=0.5", "data.source=csv"),
    ("similarity", "predict.top=3", "predict.rank=true"),
    ("speech", "data.held_out=theo", "data.source=fsdd"),
    ("translation", "data.test=x", "data.source=multi30k"),
    ("translation", "model.heads=2", "model.attention=multihead"),
    ("video", "data.horizon=3", "train.task=predict_frames"),
    ("video", "data.colour=true", "data.source=folder"),
)
"""(application, a setting that its other settings leave unread, when it would be read)"""


def settings() -> Iterator[Fault]:
    """What is typed wrongly, the same for every application."""
    for app in APPS:
        train = f"train --app {app} --preset smoke --set "
        yield Fault(f"{train}model.hiden=3", r"model\.hiden: unknown key; did you mean model\.hidden")
        yield Fault(f"{train}model.hidden=many", r"model\.hidden: .*integer.*'many'")
        yield Fault(f"{train}optimizer.lr=-1", r"optimizer\.lr: .*greater than 0.*-1")
        yield Fault(f"{train}data.source=nowhere", r"data\.source: .*'builtin'.*'nowhere'")
        yield Fault(f"{train}model.cell=grue", r"grue.*gru")
        yield Fault(f"{train}model.hidden", "write it as key=value")
        yield Fault(f"prepare --app {app} --preset smoke1", r"--preset smoke1: .*did you mean smoke\?")
        yield Fault(f"evaluate --app {app} --run latest", f"run latest: .* run,? of {app}")
        yield Fault(f"predict --app {app} --run 12345678", "12345678")
        yield Fault(f"train --app {app} --resume latest", f"{app}")
        yield Fault(f"{train}data.path={{path}}", r"data\.path=.*nowhere: no such file or folder", nowhere)
        yield Fault(f"{train}data.source=builtin --set data.path={{path}}", "data.path=.*: is read only with", nowhere)
        yield Fault(
            f"{train}optimizer.decay=0.3", r"optimizer\.decay=0\.3: is read only with optimizer\.schedule=decay"
        )
    for app, setting, wanted in UNREAD:
        yield Fault(f"train --app {app} --set {setting}", f"{setting}.*: is read only with {wanted}")


USAGE = [
    Fault("train", r"--app NAME is missing", code=2),
    Fault("train --app speach", r"--app speach: no such application; did you mean speech\?"),
    Fault("train --app speech,lingo", r"--app lingo: no such application"),
    Fault("predict --app speech,language", "takes one application", code=2),
    Fault("evaluate --app speech --split tests", r"--split tests: no such split; known: train, val, test"),
    Fault("train --app speech --resume latest --set model.hidden=3", "--resume uses the run's own", code=2),
    Fault("new-app", "--name is missing", code=2),
    Fault("new-app --name x --kind classifier", r"--kind classifier: .*did you mean classify"),
    Fault("new-app --name speech --kind tag", "an application of that name already exists"),
    Fault("new-app --name Best --kind tag", "use lower-case letters"),
    Fault("new-cell --name gru", "a cell of that name already exists"),
    Fault("new-cell --name ../gru", "use lower-case letters"),
    Fault("memory --cell grue", "--cell grue: unknown; did you mean gru", code=2),
    Fault("memory --cell gru --task copies", "--task copies: unknown; did you mean copy", code=2),
    Fault(
        "train --app speech --set train.epochs=0",
        r"error: train\.epochs=0 needs a time limit: set train.minutes$",
    ),
    Fault("train --app speech --set train.epochs=-1", r"train\.epochs: .*greater than or equal to 0"),
    Fault("train --app speech --set train.precision=8", r"train\.precision: .*'32'"),
    Fault("train --app speech --set train.seed=-1", r"train\.seed"),
    Fault("train --app speech --set optimizer.name=adamm", r"optimizer\.name"),
    Fault("train --app speech --set optimizer.lr=NaN", r"optimizer\.lr"),
    Fault("train --app speech --set =3", "unknown key"),
    Fault("train --app language --set data.path=", r"--set data\.path=: is an empty path"),
    Fault("train --app image --set data.size=[0,8]", r"data\.size\.0: .*greater than or equal to 1 \(got 0\)"),
    Fault("train --app image --set data.size=[8,100000]", r"data\.size\.1: .*less than or equal to 1024"),
    Fault("train --app captioning --set data.side=100000", r"data\.side: .*less than or equal to 1024"),
]


def png(**size: int) -> bytes:
    """A PNG whose header declares a size that its data do not have."""
    header = struct.pack(">IIBBBBB", size["width"], size["height"], 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


def picture() -> bytes:
    """A good small PNG."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "png")
    return file.getvalue()


def sound(seconds: float = 0.5) -> bytes:
    """A good WAV of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(8000)
        wav.writeframes(b"\0\0" * int(8000 * seconds))
    return file.getvalue()


def beside(name: str, content: bytes, *others: tuple[str, bytes | str]) -> Make:
    """A folder that holds a bad file, and what else belongs there."""

    def make(folder: Path) -> Path:
        for path, data in ((name, content), *others):
            holding(data, path)(folder)
        return folder

    make.__name__ = f"folder with {name} of {len(content)}"
    return make


TEXTS: list[tuple[str, Make]] = [
    ("no such|not found|cannot be read", nowhere),
    (r"empty\.txt", holding("", "empty.txt")),
    ("UTF-8|NUL", holding(UTF16, "utf16.txt")),
    ("UTF-8", holding(LATIN, "latin.txt")),
    (r"nul\.txt", holding(b"abc\0def\tx\n" * 20, "nul.txt")),
]


def texts() -> Iterator[Fault]:
    """One file of text, for the applications that read one."""
    for app, source in (("language", "file"), ("similarity", "csv"), ("recommend", "csv"), ("translation", "tsv")):
        command = f"prepare --app {app} --set data.source={source}"
        yield Fault(command, r"data\.path")
        for said, make in TEXTS:
            yield Fault(f"{command} --set data.path={{path}}", said, make)
    csv = "prepare --app similarity --set data.source=csv --set data.path={path}"
    head = "a,b,score\n"
    yield Fault(csv, "column", holding("a,b,c\n1,2,3\n", "columns.csv"))
    yield Fault(csv, "5.5.*range|5.5.*between|outside", holding(head + "x,y,5.5\n" * 30, "range.csv"))
    yield Fault(csv, "nan|number", holding(head + "x,y,nan\n" * 30, "nan.csv"))
    yield Fault(csv, "number|score", holding(head + "x,y,high\n" * 30, "word.csv"))
    yield Fault(csv, "ragged.csv, row 2 has 2 values for 3 columns", holding(head + "x,y\n" * 30, "ragged.csv"))
    yield Fault(csv, "surplus.csv, row 2 has 4 values for 3", holding(head + "x,y, z,1\n" * 30, "surplus.csv"))
    yield Fault(
        csv, "row 3: a quotation mark opens here", holding(head + 'x,y,1\n"x,y,0\nx",y,1\n' + "x,y,1\n", "swallow.csv")
    )
    yield Fault(csv, "row 2: a quotation mark opens here", holding(head + '"x,y,1\n' * 31, "open.csv"))
    yield Fault(csv, "record 2: is not an object", holding('{"a": "x", "b": "y", "score": 1}\n[1]\n', "list.jsonl"))
    yield Fault(csv, "line 2, column 2: is not JSON", holding('{"a": "x", "b": "y", "score": 1}\n{a\n', "cut.jsonl"))
    yield Fault(csv, "row 1: its a is a list", holding('{"a": ["x"], "b": "y", "score": 1}\n', "lists.jsonl"))
    yield Fault(csv, "is a ZIP archive or a workbook", holding(b"PK\x03\x04" + bytes(99), "book.csv"))
    csv = "prepare --app recommend --set data.source=csv --set data.path={path}"
    head = "session,item,time\n"
    yield Fault(csv, "column", holding("a,b,c\n1,2,3\n", "columns.csv"))
    yield Fault(csv, "has no rows", holding(head, "header.csv"))
    yield Fault(csv, "time", holding(head + "1,2,soon\n" * 30, "soon.csv"))
    yield Fault(csv, "empty", holding(head + "1,,3\n" * 30, "gap.csv"))
    yield Fault(csv, "wide.csv, row 2 has 5 values for 3 columns", holding(head + "1,2,3,4,5\n" * 30, "wide.csv"))
    yield Fault(
        csv, "row 2: a quotation mark opens here", holding(head + '"1,2,300\n2,3,400\n3",4,500\n', "swallow.csv")
    )
    yield Fault(csv, "within 0 seconds", holding(head + "1,2,1700000000\n" * 30, "moment.csv"))
    yield Fault(csv, "the year 55,8", holding(head + "1,2,1700000000\n" * 30 + "1,2,1700000000000\n", "unit.csv"))
    yield Fault(csv, "1969-12-31", holding(head + "1,2,1700000000\n" * 30 + "1,2,-1\n", "before.csv"))
    yield Fault(csv, "'20231301' is no time", holding(head + "1,2,20231201\n" * 30 + "1,2,20231301\n", "day.csv"))
    yield Fault(
        csv, "no column item or .*; its columns: userId, timestamp", holding("userId,timestamp\n1,2\n", "none.csv")
    )
    packed = gzip.compress(b"session,item,time\n1,2,3\n", mtime=0) + BOMB
    yield Fault(csv, "bomb.csv.gz: expands more than 200 times when unpacked", holding(packed, "bomb.csv.gz"))
    tsv = "prepare --app translation --set data.source=tsv --set data.path={path}"
    yield Fault(tsv, "tab|column", holding("no tab here\n" * 20, "one.tsv"))
    yield Fault(tsv, "row 1 has 3 values for 2 columns", holding("a\tb\tc\n" * 20, "three.tsv"))
    yield Fault(tsv, "en to de was asked for", holding("en\tfr\n" + "a\tb\n" * 20, "french.tsv"))
    yield Fault(tsv, "no column en .*add a header", holding("One, two.\n" * 20, "commas.txt"))
    objects = '{"translation": {"en": "a", "fr": "b"}}\n'
    yield Fault(tsv.replace("tsv", "jsonl"), "en to de was asked for", holding(objects * 20, "french.jsonl"))
    yield Fault(tsv, "cut off|damaged|truncated|gzip|ended", holding(GZIP_CUT, "cut.tsv.gz"))
    yield Fault(tsv, "bomb.tsv.gz: expands more than 200 times when unpacked", holding(BOMB, "bomb.tsv.gz"))
    yield Fault(tsv, r"one\.tsv: has 1 different source sentences", holding("a\tb\n" * 20, "one.tsv"))
    two = "prepare --app translation --set data.source=parallel"
    two += " --set data.path={path}/a.txt --set data.target_path={path}/b.txt"
    yield Fault(two, "20.*10|10.*20", beside("a.txt", b"one\n" * 20, ("b.txt", "two\n" * 10)))
    yield Fault(two, "same", beside("a.txt", b"one\n" * 20, ("b.txt", "one\n" * 20)))
    yield Fault(two, "no such file", beside("a.txt", b"one\n" * 20))
    yield Fault("prepare --app translation --set data.target_locale=dee", "dee.*de")
    yield Fault("prepare --app translation --set data.source_locale=de", "de")
    words = "prepare --app language --set data.source=file --set data.units=words --set data.path={path}"
    yield Fault(words, "no space", holding("x" * 300_000, "word.txt"))
    yield Fault(
        "prepare --app language --set data.source=file --set data.path={path}",
        "no tokens; give it more text",
        holding("ab", "short.txt"),
    )


def filmed(frame: bytes) -> tuple[tuple[str, bytes], ...]:
    """Two classes of three clips, numbered frames; those of walk/a begin at the second."""
    clips = [f"{label}/{clip}" for label in ("walk", "run") for clip in "abc"]
    return tuple((f"{clip}/frame_{n}.png", frame) for clip in clips for n in range(1, 6) if (clip, n) != ("walk/a", 1))


def folders() -> Iterator[Fault]:
    """Folders of pictures, sounds and clips."""
    good = picture()
    table = "path,caption\n" + "".join(f"{n}.png,{n} red squares\n" for n in range(20))
    many = tuple((f"{n}.png", good) for n in range(1, 20))
    captions = "prepare --app captioning --set data.source=folder --set data.path={path}"
    classes = "prepare --app image --set data.source=folder --set data.path={path}"
    clips = "prepare --app video --set data.source=folder --set data.path={path}"
    sounds = "prepare --app speech --set data.source=folder --set data.path={path}"
    for command in (captions, classes, clips, sounds):
        yield Fault(command.replace(" --set data.path={path}", ""), r"data\.path")
        yield Fault(command, "nowhere|no such", nowhere)
        yield Fault(command, "no |holds|has 0", empty_folder)
        yield Fault(command, "note.txt|no |folder", holding("not a folder", "note.txt"))
    bad = {
        "zero": b"", "text": b"this is a text", "cut": good[:40], "bomb": png(width=60_000, height=60_000),
        "liar": png(width=64, height=64),
    }  # fmt: skip
    for name, content in bad.items():
        yield Fault(captions, r"0\.png", beside("0.png", content, *many, ("captions.csv", table)))
        inside = tuple((f"{label}/{n}.png", good) for label in ("cat", "dog") for n in range(1, 12))
        yield Fault(classes, rf"cat/{name}\.png", beside(f"cat/{name}.png", content, *inside))
        yield Fault(clips, r"frame_1\.png", beside("walk/a/frame_1.png", content, *filmed(good)))
    yield from half_layouts(classes, clips, good)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    inside = tuple((f"{label}/{n}.png", good) for label in ("cat", "dog") for n in range(1, 12))
    yield Fault(classes, r"cat/eps\.png: is not a picture", beside("cat/eps.png", eps, *inside))
    yield Fault(captions, "missing|no such", beside("1.png", good, ("captions.csv", table)))
    yield Fault(captions, "column", beside("0.png", good, ("captions.csv", "sketch,text\n0.png,x\n")))
    yield Fault(captions, "CSV", beside("0.png", good, ("a.csv", table), ("b.csv", table)))
    yield Fault(classes, "class|subfolder", beside("0.png", good))
    yield Fault(clips, "gap|9", beside("walk/a/frame_9.png", good, ("walk/a/frame_1.png", good), *filmed(good)))
    for name, content in {"zero.mp4": b"", "text.mp4": b"no film", "sound.mp4": sound()}.items():
        yield Fault(clips, rf"walk/{name}", beside(f"walk/{name}", content, *filmed(good)))
    for name, content in {"zero.wav": b"", "text.wav": b"no sound", "cut.wav": sound()[:30]}.items():
        metadata = ("metadata.csv", "path,text\n" + f"{name},one two\n" * 3)
        yield Fault(sounds, name.replace(".", r"\."), beside(name, content, metadata))
    unquoted = ("metadata.csv", "path,text\n" + "a.wav,one, two\n" * 3)
    yield Fault(sounds, "metadata.csv, row 2 has 3 values for 2 columns", beside("a.wav", sound(), unquoted))
    metadata = ("metadata.csv", "path,text\n" + "tenth.wav,one two\n" * 3)
    tenth = sound()[:800]
    yield Fault(sounds, r"tenth\.wav: .*holds 800 of the 8,044 bytes", beside("tenth.wav", tenth, metadata))


def half_layouts(classes: str, clips: str, good: bytes) -> Iterator[Fault]:
    """Folders whose splits or classes are not what they seem; pictures, and clips of one frame each."""
    layouts = {
        "holdout: lies beside": ("train/cat/{}", "train/dog/{}", "holdout/cat/{}"),
        "if train is a class": ("bus/{}", "car/{}", "train/{}"),
        "a second folder for val": ("train/cat/{}", "train/dog/{}", "val/cat/{}", "valid/cat/{}"),
        "has test and no folder train": ("test/cat/{}", "test/dog/{}"),
        "no such class in .*train": ("train/cat/{}", "train/dog/{}", "val/cow/{}"),
        "is a split within a class": ("cat/train/{}", "dog/train/{}"),
        "has 1 subfolder": ("cat/{}",),
        "files without a class": ("train/cat/{}", "train/dog/{}", "test/1.png"),
    }
    for said, names in layouts.items():
        for command, part in ((classes, "1.png"), (clips, "1/1.png")):
            (name, content), *others = ((name.format(part), good) for name in names)
            yield Fault(command, said, beside(name, content, *others, ("names.txt", said)))


def checkpoints() -> Iterator[Fault]:
    """What is no model and no state."""
    yield Fault("evaluate --app speech --run models:/speech@champion", "models:/speech@champion")
    yield Fault("predict --app speech --run models:/nothing@none", "nothing")
    yield Fault("promote --app speech --run latest", "speech")
    yield Fault("diagnose --app speech --preset smoke --replay {path}", "nowhere", nowhere)
    yield Fault("diagnose --app speech --run 12345678", "12345678")
    yield Fault(
        "diagnose --app speech --preset smoke --replay {path}", "batch", holding(b"\0" * 100, "batch.safetensors")
    )


FAULTS = [*USAGE, *settings(), *texts(), *folders(), *checkpoints()]
