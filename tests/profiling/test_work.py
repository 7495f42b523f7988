"""Whole models as they are served: every phase answers what the model says, as often as it is asked."""

from dataclasses import replace

import pytest
import torch

from distilsearch.architecture import Architecture
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.profiling import measure
from distilsearch.profiling.device import Regime
from distilsearch.profiling.model_case import model_signature, parse_model
from distilsearch.profiling.runtimes.exported import tokens
from distilsearch.profiling.work import Served, model_job


def decoder() -> Architecture:
    values = {"layers": [2], "width": [32], "heads": [4], "kv_heads": [2], "head_size": [8], "ffn": [64]}
    space = family("llama").space(values | {"vocabulary": [100], "positions": [64], "inherit": ["even"]})
    return space.decode(space.grid(10))[0]


def test_decoding_reads_one_token_over_a_cache_that_keeps_its_length() -> None:
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        job = model_job(decoder(), Serving(batch=2, sequence=12, phase="decode"))
        first, again = job.call(), job.call()
        text = torch.randint(100, (2, 12), generator=torch.Generator().manual_seed(0))
        served = job.module
        assert served is not None
        whole = served.model(input_ids=torch.cat([text, text[:, -1:]], dim=1)).logits[:, -1]
    assert job.inputs[0].shape == (2, 1)
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(first, whole, rtol=1e-4, atol=1e-4)


def test_a_prompt_is_answered_by_its_last_token() -> None:
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        job = model_job(decoder(), Serving(batch=2, sequence=12, phase="prefill"))
        answer = job.call()
        served = job.module
        assert served is not None
        whole = served.model(input_ids=job.inputs[0]).logits[:, -1]
    torch.testing.assert_close(answer, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_whole_decoders_are_measured(phase: str, store) -> None:
    (measured,) = measure([decoder()], "cpu", Serving(sequence=16, phase=phase, threads=1), store)
    assert measured.status in ("ok", "noisy")
    assert 0 < measured.seconds_p10 <= measured.seconds_p50


def test_a_padded_batch_is_read_with_its_mask_and_has_a_signature_of_its_own() -> None:
    space = family("bert").space({"layers": [1], "width": [32], "heads": [2], "ffn": [64], "vocabulary": [100]})
    student, plain = space.decode(space.grid(10))[0], Serving(batch=4, sequence=8)
    padded = replace(plain, padded=True)
    job = model_job(student, padded)
    assert isinstance(job.module, Served)
    assert job.module.mask.sum(dim=1).tolist() == [8, 6, 4, 2]
    assert tokens(student, padded)["attention_mask"].sum(axis=1).tolist() == [8, 6, 4, 2]
    with torch.inference_mode():
        whole = job.module.builder.serve(job.module.model, student, job.inputs[0], torch.ones(4, 8, dtype=torch.long))
        answer = job.call()
    assert torch.allclose(answer[0], whole[0], atol=1e-5)
    assert not torch.allclose(answer[3], whole[3], atol=1e-3)
    regime = Regime("float32", "eager", 1)
    for serving in (plain, padded):
        signature = model_signature(student, replace(serving, threads=1))
        assert parse_model(signature, regime) == (student, replace(serving, threads=1))
        assert ("padded" in signature) is serving.padded
