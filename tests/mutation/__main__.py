"""`python -m tests.mutation [core|training] [--mutants 100] [--seed 0]`: the share of faults that tests detect."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # threads do not outlive a fork
    os.environ[name] = "1"

from tests.mutation import run, warm  # noqa: E402

CACHE = Path(tempfile.gettempdir()) / f"unroll-mutation-{os.getuid()}"


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("area", nargs="*", default=list(run.AREAS), help=f"{', '.join(run.AREAS)}; default: all")
    parser.add_argument("--mutants", type=int, default=100, help="how many, per area")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--path", default="", help="only files with this in their path")
    parser.add_argument("--line", type=int, default=0, help="only this line of them")
    parser.add_argument("--fresh", action="store_true", help="measure again which test calls what")
    return parser.parse_args(words)


def share_noticed(name: str, options: argparse.Namespace) -> float:
    """Draws, runs and prints; the share of the mutants that some test noticed."""
    area = run.AREAS[name]
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        root = Path(folder) / "tree"
        run.copied(run.ROOT, root)
        drawn = run.draw(root, area, options.mutants, options.seed, options.path, options.line)
        known = run.Map(root, Path(folder), CACHE)
        known.build(run.test_files(root, area), options.fresh)
        noticed = 0
        for number, mutant in enumerate(drawn.chosen, 1):
            text, began = (root / mutant.path).read_bytes(), time.monotonic()
            by = run.judge(root, mutant, known)
            noticed += by is not None
            word = f"noticed by {by}" if by else "UNNOTICED"
            print(f"{number}. {mutant.shown(text)}\n    {word} ({time.monotonic() - began:.0f} s)", flush=True)
    share = noticed / max(len(drawn.chosen), 1)
    print(f"{name}: {noticed} of {len(drawn.chosen)} mutants noticed ({share:.1%}, wanted {area.wanted:.0%}), seed "
          f"{options.seed}, drawn from {drawn.places} places")  # fmt: skip
    for reason, count in drawn.excluded.items():
        print(f"    {count} places left out: {reason}")
    return share


def main() -> int:
    options = arguments()
    os.nice(10)
    CACHE.mkdir(exist_ok=True, mode=0o700)
    os.environ["UNROLL_KERNELS"] = str(CACHE / "kernels")
    (CACHE / "kernels").mkdir(exist_ok=True, mode=0o700)
    warm.warm_up()
    enough = [share_noticed(name, options) >= run.AREAS[name].wanted for name in options.area]
    return 0 if all(enough) else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Triton's extension writes pages about its own leaks when an interpreter ends in order
