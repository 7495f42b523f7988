"""The quickstart: a run on a real teacher and real text, with nothing to download when it runs."""

from ..runfile.config import Run

MINUTES = 10.0


def quickstart_run(minutes: float = MINUTES, trials: int | None = None, seed: int = 0) -> Run:
    """The run of `distilsearch quickstart`: all-MiniLM-L6-v2, Python's documentation, this CPU.

    Args:
        minutes: that it may take in all.
        trials: a number of students instead, with the lengths of a run file that gives none.
    """
    return Run.parse(
        {
            "name": "quickstart",
            "teacher": "quickstart",
            "text": ["python-docs"],
            **({"minutes": minutes} if trials is None else {"trials": trials}),
            "seed": seed,
            "space": {
                "family": "bert",
                "layers": [1, 2, 3, 4, 6],
                "width": [128, 192, 256, 320, 384],
                "heads": [4, 6, 8, 12],
                "ffn": [256, 384, 512, 768, 1024, 1536],
            },
            "train": {"device": "cpu"} if trials is None else {"device": "cpu", "final_tokens": 800_000},
            "target": [{"device": "cpu", "serving": {"batch": 1, "sequence": 128}}],
        }
    )
