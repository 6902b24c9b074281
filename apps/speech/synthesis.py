"""Speech from espeak-ng, through its C library.

The output of espeak-ng depends on the clock, which seeds the noise of breathy voices, and on everything that the
process has said before: flutter and phase carry over from one utterance to the next, even if the library is initialised
again. So the noise is seeded, the utterances are divided into batches of fixed size, and each batch is spoken by a new
process: the result is the same every time, whatever the number of cores. This file is also the program of that process.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

PER_PROCESS = 200


@dataclass(frozen=True)
class Saying:
    """A text and how to say it."""

    text: str
    voice: str
    """language and variant, for example "en-us+f2" """
    speed: int = 175
    """words per minute, 80 to 450"""
    pitch: int = 50
    """0 to 100"""
    range: int = 50
    """variation of the pitch, 0 to 100"""


class SynthesisError(Exception):
    """espeak-ng cannot say this. The message is one line."""


def speak(sayings: Sequence[Saying], rate: int) -> Iterator[NDArray[np.float32]]:
    """The samples of each saying, at `rate` Hz, full scale is 1. The result does not depend on the number of cores.

    Raises:
        SynthesisError: the library cannot be loaded, or does not know a voice.
    """
    lists = [sayings[start : start + PER_PROCESS] for start in range(0, len(sayings), PER_PROCESS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for spoken in pool.map(lambda these: _in_a_process(these, rate), lists):
            yield from spoken


def _in_a_process(sayings: Sequence[Saying], rate: int) -> list[NDArray[np.float32]]:
    # -P: this folder must not come before the installed packages.
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(rate)]
    program = json.dumps([astuple(saying) for saying in sayings]).encode()
    done = subprocess.run(command, input=program, capture_output=True, check=False)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip() or f"ended with code {done.returncode}"
        raise SynthesisError(f"espeak-ng: {message.splitlines()[-1]}")
    header = len(sayings) * 8
    sizes = np.frombuffer(done.stdout[:header], np.int64)
    samples = np.frombuffer(done.stdout[header:], np.int16).astype(np.float32) / 32768
    return np.split(samples, np.cumsum(sizes)[:-1])


# What follows runs in the child process. Names and numbers are those of espeak-ng's speak_lib.h.

_RETRIEVAL, _DO_NOT_EXIT, _UTF8, _OK = 2, 0x8000, 1, 0
_SPEED, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Espeak:
    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = Path(espeakng_loader.get_data_path())
        self.rate = self._library.espeak_Initialize(_RETRIEVAL, 0, str(data).encode(), _DO_NOT_EXIT)
        if self.rate <= 0:
            raise SynthesisError(f"cannot start with the data in {data}")
        self._variants = data / "voices" / "!v"
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the default is the time of day
        self._heard: list[bytes] = []
        self._callback = _Callback(self._hear)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, saying: Saying) -> NDArray[np.int16]:
        # espeak-ng silently ignores an unknown variant.
        exists = (self._variants / saying.voice.partition("+")[2]).exists()
        if not exists or self._library.espeak_SetVoiceByName(saying.voice.encode()) != _OK:
            raise SynthesisError(f"has no voice {saying.voice!r}")
        for parameter, value in ((_SPEED, saying.speed), (_PITCH, saying.pitch), (_RANGE, saying.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._heard.clear()
        text = saying.text.encode()
        if self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None) != _OK:
            raise SynthesisError(f"cannot say {saying.text!r}")
        return np.frombuffer(b"".join(self._heard), np.int16)

    def _hear(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: object) -> int:
        if count > 0:
            self._heard.append(ctypes.string_at(samples, 2 * count))
        return 0


def main(rate: int) -> None:
    """Sayings as JSON on stdin -> on stdout their sizes (int64) and all their samples (int16) at `rate` Hz."""
    espeak = _Espeak()
    spoken = [espeak.say(Saying(*values)) for values in json.load(sys.stdin)]
    spoken = [soxr.resample(samples, espeak.rate, rate) for samples in spoken]
    sys.stdout.buffer.write(np.array([len(samples) for samples in spoken], np.int64).tobytes())
    sys.stdout.buffer.write(b"".join(samples.tobytes() for samples in spoken))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (SynthesisError, OSError, ImportError) as error:
        sys.exit(str(error))
