"""RoBERTa and XLM-R encoders: BERT's layers, with positions that start after the padding token.

Genes and lowering are BERT's. `positions` counts the rows of the table, two more than a text may have tokens. The head
is called `lm_head`.
"""

from typing import Any, final

from ..architecture import Architecture, Value
from ..errors import TeacherError
from .encoder import AXES, KEPT, Encoder
from .encoder import CHOICES as SHARED
from .family import TeacherFacts
from .shared import kept_settings

CHOICES: dict[str, tuple[Value, ...]] = SHARED | {"vocabulary": (50265,), "positions": (514,), "types": (1,)}
HEAD_AXES = {"lm_head.dense.": ("residual", "residual"), "lm_head.layer_norm.": ("norm",)}


@final
class Roberta(Encoder):
    """The family of RoBERTa encoders; students of an XLM-R teacher are XLM-R models."""

    name = "roberta"
    teachers = ("roberta", "xlm-roberta")
    choices = CHOICES
    axes = AXES | HEAD_AXES

    def facts(self, config: Any, name: str, head: str, pool: str = "mean") -> TeacherFacts:
        """The facts of a teacher of this family; positions begin after its padding token's, so it must have one."""
        if config.pad_token_id is None:
            raise TeacherError(
                f"{name} has no pad_token_id in config.json, after which its positions begin; write it there, as it "
                "was when the model was trained (1 of most models of this type)"
            )
        return super().facts(config, name, head, pool)

    def longest(self, config: Any) -> int:
        """Positions begin after the padding token's."""
        return int(config.max_position_embeddings - config.pad_token_id - 1)

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `RobertaConfig`, or an `XLMRobertaConfig`, whichever the teacher has. No dropout."""
        from transformers import RobertaConfig, XLMRobertaConfig

        multilingual = getattr(teacher_config, "model_type", "") == "xlm-roberta"
        kind = XLMRobertaConfig if multilingual else RobertaConfig
        return kind(**kept_settings(teacher_config, KEPT), **self.settings(architecture))

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `RobertaModel` or `XLMRobertaModel` for embedding students, else the masked-LM one."""
        from transformers import AutoModel, AutoModelForMaskedLM

        auto: Any = AutoModel if architecture["head"] == "embedding" else AutoModelForMaskedLM
        return auto.from_config(self.config(architecture, teacher_config)).eval()

    def transform(self, model: Any, hidden: Any) -> Any:
        """What the output table is multiplied with: hidden states (k, w) -> (k, w)."""
        from torch.nn.functional import gelu

        return model.lm_head.layer_norm(gelu(model.lm_head.dense(hidden)))

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of transformed states (k, w)."""
        return model.lm_head.decoder(transformed)


ROBERTA = Roberta()
