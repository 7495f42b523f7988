"""The contract of every evaluation."""

from pathlib import Path

import pytest

from distilsearch.distill.data import Text
from distilsearch.distill.evaluate import EVALUATIONS, open_evaluation
from distilsearch.distill.teacher import Teacher
from distilsearch.testing.evaluations import EvaluationContract


class TestEvaluations(EvaluationContract):
    @pytest.fixture(params=sorted(EVALUATIONS))
    def evaluation(self, request: pytest.FixtureRequest, teacher: Teacher, text: Text, tmp_path: Path):  # type: ignore[no-untyped-def]
        pairs = tmp_path / "pairs.csv"
        pairs.write_text('aaa bbb,aaa bbb,5\n"aaa ccc",aaa bbb,3\nfee fed,aaa bbb,0\n')
        return open_evaluation(request.param, pairs, teacher, text)

    @pytest.fixture
    def folder(self, teacher: Teacher) -> Path:
        return teacher.folder
