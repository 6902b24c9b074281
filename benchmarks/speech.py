"""Speech benchmarks on one core: python benchmarks/speech.py [--json]

Rates are multiples of real time (seconds of audio per second of processor time), the best of several tries. Each row
names its baseline: librosa's own log-mel, or a textbook prefix search over dictionaries.
"""

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import librosa
import numpy as np
import torch

from unroll.apps.speech import APP
from unroll.apps.speech.features import FLOOR, LogMel
from unroll.apps.speech.sources import builtin
from unroll.data.store import Store
from unroll.sequence import ctc


def main() -> None:
    """Measure and print a table, with --json followed by one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, float] = {}
    for measure in (features, training, decoding):
        results |= measure()
    for name, value in results.items():
        print(f"{name:60} {value:12,.1f}")
    if wanted.json:
        print(json.dumps(results))


def features() -> dict[str, float]:
    """Frames from samples: short utterances, as in `prepare`, and one long recording; ours and librosa's."""
    utterances = [u.samples for u in islice(builtin.source(200, 0, 8000).read(), 200)]
    long = [np.random.default_rng(0).standard_normal(8000 * 300).astype(np.float32)]
    log_mel = LogMel()

    def peer(samples: np.ndarray) -> None:
        energies = librosa.feature.melspectrogram(
            y=samples, sr=8000, n_fft=256, win_length=200, hop_length=80, n_mels=40, center=False
        )
        np.log(energies + FLOOR).T.astype(np.float32)

    results: dict[str, float] = {}
    for name, recordings in (("utterances", utterances), ("a long recording", long)):
        seconds = sum(map(len, recordings)) / 8000
        ours = seconds / best(partial(apply, log_mel, recordings))
        theirs = seconds / best(partial(apply, peer, recordings))
        results |= {f"features, {name}: x real time": ours, f"features, {name}: ratio to librosa": ours / theirs}
    return results


def apply(function: Callable[[np.ndarray], object], recordings: list[np.ndarray]) -> None:
    """Calls `function` on each recording."""
    for samples in recordings:
        function(samples)


def training() -> dict[str, float]:
    """The default preset on 400 utterances: loading batches, and whole steps."""
    config = APP.config("default", ["data.utterances=400"])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        start = time.perf_counter()
        APP.prepare(config, store)
        results = {"prepare, 400 utterances (520 in all), all cores: seconds": time.perf_counter() - start}
        data = APP.data(config, store)
        model = APP.model(config, data.facts)
        batches = list(data.train)
        seconds = sum(record["seconds"] for batch in batches for record in batch.records)
        loading = best(lambda: list(data.train))
        steps = best(lambda: [APP.step(model, batch, None).loss.backward() for batch in batches], tries=2)
    results["loading of batches: x real time"] = seconds / loading
    results["training steps: x real time"] = seconds / steps
    results["loading: % of a step"] = 100 * loading / steps
    return results


def decoding() -> dict[str, float]:
    """Utterances per second: 64 of 2 s, 17 symbols, probabilities as peaked as a trained model's."""
    generator = torch.Generator().manual_seed(0)
    log_probs = (4 * torch.randn(67, 64, 17, generator=generator)).log_softmax(-1)
    lengths = torch.full((64,), 67)
    rows = log_probs.transpose(0, 1).tolist()
    greedy = 64 / best(lambda: ctc.greedy(log_probs, lengths))
    beam = 64 / best(lambda: ctc.beam(log_probs, lengths, 8))
    textbook = 8 / best(lambda: [textbook_beam(row, 8) for row in rows[:8]], tries=2)
    return {
        "decoding, greedy: utterances per second": greedy,
        "decoding, beam 8: utterances per second": beam,
        "decoding, beam 8: ratio to a textbook search over dictionaries": beam / textbook,
    }


def textbook_beam(frames: list[list[float]], width: int) -> tuple[int, ...]:
    """Prefix search as usually written: one utterance, a dictionary of prefixes, one label at a time."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for frame in frames:
        step: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (blank, label) in beam.items():
            total = np.logaddexp(blank, label)
            step[prefix][0] = np.logaddexp(step[prefix][0], total + frame[0])
            for symbol, score in enumerate(frame[1:], start=1):
                grown = step[(*prefix, symbol)]
                if prefix and prefix[-1] == symbol:
                    grown[1] = np.logaddexp(grown[1], blank + score)
                    step[prefix][1] = np.logaddexp(step[prefix][1], label + score)
                else:
                    grown[1] = np.logaddexp(grown[1], total + score)
        best_first = sorted(step.items(), key=lambda item: -np.logaddexp(item[1][0], item[1][1]))
        beam = {prefix: (scores[0], scores[1]) for prefix, scores in best_first[:width]}
    return next(iter(beam))


def best(run: Callable[[], object], tries: int = 5) -> float:
    """Processor time of the fastest of several tries, in seconds, after one warm-up."""
    run()
    times = []
    for _ in range(tries):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
