"""How many trainers of how many threads: asked of this machine, and told."""

import pytest
import torch

from distilsearch.engine.job.executors import Options
from distilsearch.engine.job.executors import workers as module
from distilsearch.engine.job.executors.local import Local
from distilsearch.engine.job.executors.workers import Workers, best, candidates, choose_workers, most_in_memory
from distilsearch.engine.job.jobs import Probe


def test_all_cores_are_shared_out_by_powers_of_two_and_one_a_core() -> None:
    assert candidates(1, 99) == [(1, 1)]
    assert candidates(2, 99) == [(1, 2), (2, 1)]
    assert candidates(12, 99) == [(1, 12), (2, 6), (4, 3), (8, 1), (12, 1)]
    assert all(workers * threads <= 12 for workers, threads in candidates(12, 99))


def test_no_more_trainers_than_memory_holds() -> None:
    assert candidates(16, 5) == [(1, 16), (2, 8), (4, 4)]
    assert candidates(3, 0) == [(1, 3)]
    assert most_in_memory() >= 1


def test_fewer_workers_win_where_more_make_little_difference() -> None:
    assert best({(1, 4): 100.0, (2, 2): 150.0, (4, 1): 155.0}) == (2, 2)
    assert best({(1, 4): 100.0, (2, 2): 150.0, (4, 1): 170.0}) == (4, 1)
    assert best({(1, 4): 99.0, (4, 1): 100.0}) == (1, 4)


def test_the_choice_is_told_in_words() -> None:
    choice = Workers(2, 1, "float32", {(1, 2): 7300.4, (2, 1): 9000.0})
    assert choice.reason == (
        "2 trainers of 1 thread each, float32 (tokens a second of a stand-in, together: 1 trainer of 2 threads: 7,300; "
        "2 trainers of 1 thread each: 9,000)"
    )
    assert Workers(1, 4, "bf16", {}).reason == "1 trainer of 4 threads, bf16"


@pytest.mark.slow
def test_real_children_are_tried_where_nothing_is_fixed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(module, "most_in_memory", lambda: 99)
    choice = choose_workers(Options(tmp_path), precision="float32", seconds=0.1)
    assert set(choice.tokens_per_second) == {(1, 2), (2, 1)}
    assert min(choice.tokens_per_second.values()) > 0
    assert (choice.workers, choice.threads) == best(choice.tokens_per_second)


@pytest.mark.parametrize(("threads", "workers", "expected"), [(3, 2, (2, 3)), (1, None, (8, 1)), (None, 3, (3, 2))])
def test_what_the_user_has_fixed_is_not_tried(tmp_path, monkeypatch, threads, workers, expected) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: list(range(8)))
    monkeypatch.setattr(module, "most_in_memory", lambda: 99)
    monkeypatch.setattr(module, "Local", FakeLocal)
    choice = choose_workers(Options(tmp_path, threads=threads), "auto", workers)
    assert (choice.workers, choice.threads, choice.precision) == (*expected, "bf16")
    assert not choice.tokens_per_second


class FakeLocal:
    """Answers every probe at once."""

    def __init__(self, options: Options) -> None:
        self.workers = options.workers

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def submit(self, job):
        assert job.seconds == 0.0
        return self

    def result(self) -> dict:
        return {"precision": "bf16", "tokens_per_second": 1.0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_in_a_worker_of_its_own(tmp_path) -> None:
    with Local(Options(tmp_path, device="cuda:0")) as executor:
        assert executor.submit(Probe("cuda:0", seconds=0.2)).result()["tokens_per_second"] > 0
    choice = choose_workers(Options(tmp_path, device="auto"))
    assert choice.workers == torch.cuda.device_count()
