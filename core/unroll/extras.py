"""What `pip install unroll` leaves out: the line for a library that an extra would have brought."""

APPS = frozenset(
    {
        "PIL", "babel", "espeakng_loader", "filelock", "invoke", "jiwer", "librosa", "lightning", "matplotlib",
        "mlflow", "nltk", "optuna", "pandas", "pooch", "psutil", "pyarrow", "pycocoevalcap", "pydantic", "requests",
        "rich", "sacrebleu", "scipy", "sklearn", "soundfile", "soxr", "sqlalchemy", "tokenizers", "torchdata",
        "urllib3",
    }
)  # fmt: skip
"""what the extra `apps` brings, as it is imported"""


def missing(error: BaseException | None) -> str | None:
    """One line for an import that fails for want of the extra `apps`; None for any other error."""
    while error is not None:
        library = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and library in APPS:
            return (
                f"{library} is not installed; without extras Unroll is its recurrent layers alone: "
                "pip install 'unroll[apps]'"
            )
        error = error.__cause__ or error.__context__
    return None
