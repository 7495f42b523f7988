"""`SentenceTransformer(folder, backend=...)` loads what was exported, in an environment of its own.

sentence-transformers reads such files through optimum, which does not resolve with the transformers that this package
needs. So `$DISTILSEARCH_SERVING_PYTHON` names the Python of an environment made by
`pip install "sentence-transformers[onnx,openvino]"`; without it the test is skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from distilsearch.distill.evaluate.embedding import encode
from distilsearch.distill.served.artefact import FILES
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.testing.teachers import WORDS

PYTHON = os.environ.get("DISTILSEARCH_SERVING_PYTHON", "")
CODE = """
import json, sys
from importlib.metadata import version
from sentence_transformers import SentenceTransformer
folder, files, texts = json.loads(sys.argv[1])
names = ("sentence-transformers", "transformers", "optimum", "optimum-onnx", "optimum-intel", "onnxruntime", "openvino")
print(", ".join(f"{name} {version(name)}" for name in names), file=sys.stderr)
made = {}
for backend, file in files:
    kind = {"file_name": file}
    if backend == "onnx":
        kind["provider"] = "CPUExecutionProvider"
    else:  # or a processor with bfloat16 computes in that
        kind["ov_config"] = {"INFERENCE_PRECISION_HINT": "f32"}
    model = SentenceTransformer(folder, backend=backend, model_kwargs=kind, local_files_only=True)
    made[file] = model.encode(texts).tolist()
print("MADE " + json.dumps(made))
"""


@pytest.mark.skipif(not PYTHON, reason="$DISTILSEARCH_SERVING_PYTHON names no Python with optimum")
def test_sentence_transformers_loads_every_graph(exported: tuple[Path, list[str]], model: Teacher) -> None:
    texts = [" ".join(WORDS[:9]), WORDS[3], " ".join(WORDS[40:100])]
    files = [("onnx" if runtime == "onnxruntime" else runtime, FILES[runtime, dtype]) for runtime, dtype in FILES]
    given = json.dumps([str(exported[0]), [(backend, file.rpartition("/")[2]) for backend, file in files], texts])
    run = subprocess.run([PYTHON, "-c", CODE, given], capture_output=True, text=True, cwd=exported[0].parent)
    assert run.returncode == 0, run.stderr[-3000:]
    print(run.stderr)
    made = json.loads(run.stdout.rpartition("MADE ")[2])
    expected = encode(model, texts).numpy()
    for file, vectors in made.items():
        assert np.abs(np.array(vectors) - expected).max() < (0.2 if "qint8" in file else 1e-5), file
    assert len(made) == len(FILES)
