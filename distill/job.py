"""The one identity of a training: everything that a student's weights depend on but its architecture.

`search`, `distill` and `fidelity` name their students by it, so that each finds what the others have trained. What a
student is served on is no part of it, nor is anything that leaves the weights as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import RunError
from distilsearch.growth import filled, grown

from .quality import LOSS
from .recipes import Recipe
from .targets.cache import outputs_key
from .teachers.frame import stated_frame
from .teachers.teacher import Teacher
from .texts.data import Text

ADDED: Mapping[str, Any] = {
    "prompt": "",
    "frame": "",
    "share": 1.0,
    "quality": "loss",
    "start": "",
}  # fields of a training that came later, with the value of every key before; see `growth`


@dataclass(frozen=True)
class Training:
    """How a student is trained: sha256 keys of what goes in, and how long.

    `precision` is the one that is trained in, "float32" or "bf16", never "auto". `teacher` covers weights, config and
    what surrounds them. `prompt` is the text that every block begins with; `frame` the ids that the tokenizer puts
    around a text, where those are not the ones that blocks always had. `share` of the text's training blocks is learnt
    from, in as many epochs as the tokens are; whatever it is, the same blocks are held out. `quality`, of
    `quality.QUALITIES`, is what the held-out loss is. `start` is the key of the super-network that a student is cut
    from; the teacher where there is none.
    """

    teacher: str
    tokenizer: str
    text: str
    recipe: str
    tokens: int
    seed: int
    precision: str
    prompt: str = ""
    frame: str = ""
    share: float = 1.0
    quality: str = LOSS
    start: str = ""

    @classmethod
    def of(
        cls,
        teacher: Teacher,
        text: Text,
        recipe: Recipe,
        tokens: int,
        seed: int,
        precision: str,
        share: float = 1.0,
        quality: str = LOSS,
    ) -> "Training":
        """The training of loaded values; `precision` must be resolved."""
        content = (outputs_key(teacher), teacher.tokenizer_sha256, text.sha256, recipe.key)
        shown = {"prompt": teacher.prompt, "frame": stated_frame(teacher), "quality": quality}
        return cls(*content, tokens=tokens, seed=seed, precision=precision, share=share, **shown)

    def at(self, tokens: int) -> "Training":
        """The same training at another length."""
        return replace(self, tokens=tokens)

    @property
    def whole(self) -> "Training":
        """The same training on the whole text."""
        return replace(self, share=1.0)

    def starting(self, start: str) -> "Training":
        """The same from a super-network, by its key; "" is from the teacher."""
        return replace(self, start=start)

    def key(self, architecture: Architecture) -> str:
        """The content key of a trained student: a sha256."""
        return _sha256(self.to_json() | {"architecture": architecture.to_json()})

    def way(self, architecture: Architecture) -> str:
        """A sha256 that is the same for all lengths: by it a longer training knows the checkpoints of a shorter one."""
        content = {name: value for name, value in self.to_json().items() if name != "tokens"}
        return _sha256(content | {"architecture": architecture.to_json()})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; a field that a later version added is left out while it has its default, so that keys stay."""
        return grown(asdict(self), ADDED)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Training":
        """The inverse of `to_json`; a field that this version does not know is refused by name."""
        unknown = sorted(set(data) - {field.name for field in fields(cls)})
        if unknown:
            raise RunError(f"a training with {', '.join(unknown)} was written by a newer version of distilsearch")
        return cls(**filled(data, ADDED))


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
