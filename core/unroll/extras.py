"""Optional dependencies: the error line for a library that an extra would have installed."""

APPS = frozenset(
    {
        "PIL", "babel", "espeakng_loader", "filelock", "invoke", "jiwer", "librosa", "lightning", "matplotlib",
        "mlflow", "nltk", "optuna", "pandas", "pooch", "psutil", "pyarrow", "pycocoevalcap", "pydantic", "requests",
        "rich", "sacrebleu", "scipy", "sklearn", "soundfile", "soxr", "sqlalchemy", "tokenizers", "torchdata",
        "urllib3",
    }
)  # fmt: skip
"""import names of the libraries that the extra `apps` installs"""


def missing(error: BaseException | None) -> str | None:
    """One line for an import that fails because the extra `apps` is not installed; None for any other error."""
    while error is not None:
        library = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and library in APPS:
            return (
                f"{library} is not installed; without extras Unroll has only its recurrent layers: "
                "pip install 'unroll[apps]'"
            )
        error = error.__cause__ or error.__context__
    return None
