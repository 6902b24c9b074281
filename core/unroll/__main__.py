"""`unroll` and `python -m unroll`: run tasks from anywhere, without a checkout; without a task, list applications."""

import sys
from importlib.metadata import version

from unroll.extras import missing


def main() -> None:
    """Run the task on the command line; without one, list the applications."""
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
