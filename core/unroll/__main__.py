"""`unroll` and `python -m unroll`: the tasks from anywhere, without a checkout; alone, what there is."""

import sys
from importlib.metadata import version

from unroll.extras import missing


def main() -> None:
    """Run a task of the command line; without any, list the applications."""
    words = sys.argv[1:] or ["apps"]
    sys.argv = ["unroll", *words]
    try:
        from invoke.collection import Collection
        from invoke.program import Program

        from unroll import tasks

        Program(
            name="unroll", binary="unroll", version=version("unroll"), namespace=Collection.from_module(tasks)
        ).run()
    except ModuleNotFoundError as error:
        line = missing(error)
        if line is None:
            raise
        sys.exit(f"error: {line}")


if __name__ == "__main__":
    main()
