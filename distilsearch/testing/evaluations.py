"""The contract of every evaluation. Inherit it and give the fixtures `evaluation` and `folder`:

class TestMine(EvaluationContract):
    @pytest.fixture
    def evaluation(self, tmp_path): return Mine(tmp_path / "data.csv")

    @pytest.fixture
    def folder(self, tmp_path): return write_teacher(tmp_path / "model")
"""

import math
from pathlib import Path

import pytest

from distilsearch.distill.teachers.teacher import load_teacher

from ..distill.evaluate import Evaluation
from ..distill.losses import KINDS
from ..errors import InputError
from .teachers import write_teacher


class EvaluationContract:
    """What an archive and the command line rely on in an evaluation."""

    @pytest.fixture
    def evaluation(self) -> Evaluation:
        """The evaluation, on small data."""
        raise NotImplementedError("give the fixture `evaluation`: yours, on small data")

    @pytest.fixture
    def folder(self) -> Path:
        """The folder of a model that it scores."""
        raise NotImplementedError("give the fixture `folder`: of a model that your evaluation scores")

    def test_it_names_itself_its_kinds_and_its_data(self, evaluation: Evaluation) -> None:
        assert evaluation.name.isidentifier()
        assert evaluation.kinds
        assert set(evaluation.kinds) <= set(KINDS)
        assert evaluation.heldout.strip()
        assert evaluation.heldout == evaluation.heldout

    def test_scores_are_numbers_by_name_and_the_same_again(self, evaluation: Evaluation, folder: Path) -> None:
        scores = evaluation(folder)
        assert scores
        assert all(isinstance(name, str) and math.isfinite(value) for name, value in scores.items())
        assert evaluation(folder) == scores

    def test_a_folder_a_name_and_a_loaded_model_score_the_same(self, evaluation: Evaluation, folder: Path) -> None:
        assert evaluation(folder) == evaluation(str(folder)) == evaluation(load_teacher(str(folder)))

    def test_a_model_of_another_kind_is_refused(self, evaluation: Evaluation, tmp_path: Path) -> None:
        for kind in set(KINDS) - set(evaluation.kinds):
            with pytest.raises(InputError):
                evaluation(write_teacher(tmp_path / kind, kind))
