"""The contract of every evaluation."""

from pathlib import Path

import pytest

from distilsearch.distill.evaluate import EVALUATIONS, Evaluation, open_evaluation
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.testing.evaluations import EvaluationContract
from distilsearch.testing.glue_folders import write_task
from distilsearch.testing.teachers import write_teacher


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A tiny masked-LM teacher that also judges next sentences."""
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("pretrained"), "pretraining")))


class TestEvaluations(EvaluationContract):
    @pytest.fixture(params=sorted(EVALUATIONS))
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def subject(self, name: str, teacher: Teacher, pretrained: Teacher) -> Teacher:
        return pretrained if name in ("words", "next_sentence") else teacher

    @pytest.fixture
    def evaluation(self, name: str, subject: Teacher, text_file: Path, tmp_path: Path) -> Evaluation:
        if name == "glue":
            short = {"seeds": 1, "epochs": 1, "learning_rates": (1e-4,)}
            return open_evaluation("glue", write_task(tmp_path / "RTE", "RTE"), **short)
        pairs = tmp_path / "pairs.csv"
        pairs.write_text('aaa bbb,aaa bbb,5\n"aaa ccc",aaa bbb,3\nfee fed,aaa bbb,0\n')
        text = load_text([str(text_file)], subject, block=32, heldout_fraction=0.2)
        return open_evaluation(name, pairs, subject, text)

    @pytest.fixture
    def folder(self, subject: Teacher) -> Path:
        return subject.folder
