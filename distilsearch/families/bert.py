"""BERT encoders, as `transformers.BertModel` and `transformers.BertForMaskedLM` run them; genes are every encoder's."""

from typing import Any, final

from ..architecture import Architecture
from .encoder import KEPT, Encoder
from .shared import kept_settings


@final
class Bert(Encoder):
    """The family of BERT encoders."""

    name = "bert"
    teachers = ("bert",)

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `BertConfig`; what is no gene (special tokens, norm epsilon) is the teacher's. No dropout."""
        from transformers import BertConfig

        return BertConfig(**kept_settings(teacher_config, KEPT), **self.settings(architecture))

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """A `BertModel` for embedding students, else a `BertForMaskedLM`."""
        from transformers import BertForMaskedLM, BertModel

        config = self.config(architecture, teacher_config)
        model: Any = BertModel(config) if architecture["head"] == "embedding" else BertForMaskedLM(config)
        return model.eval()

    def transform(self, model: Any, hidden: Any) -> Any:
        """What the output table is multiplied with: hidden states (k, w) -> (k, w)."""
        return model.cls.predictions.transform(hidden)

    def decode(self, model: Any, transformed: Any) -> Any:
        """Logits (k, vocabulary) of transformed states (k, w)."""
        return model.cls.predictions.decoder(transformed)


BERT = Bert()
