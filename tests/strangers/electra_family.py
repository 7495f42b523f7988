"""A family outside the tree: ELECTRA encoders for embedding teachers, in the terms of `families.encoder`."""

from typing import Any, final

from distilsearch.architecture import Architecture
from distilsearch.families.encoder import CHOICES, KEPT, Encoder
from distilsearch.families.shared import kept_settings
from distilsearch.operators import Serving
from distilsearch.plugins import Plugin
from distilsearch.sites import Site


@final
class Electra(Encoder):
    """BERT's layers without a pooler; its word table is as wide as the stream."""

    name = "electra"
    teachers = ("electra",)
    choices = CHOICES

    def sites(self, serving: Serving) -> tuple[Site, ...]:
        """An encoder's, but for the pooler."""
        return tuple(site for site in super().sites(serving) if site.name != "pooler")

    def config(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """An `ElectraConfig`."""
        from transformers import ElectraConfig

        own = {"embedding_size": architecture["width"]}
        return ElectraConfig(**kept_settings(teacher_config, KEPT), **self.settings(architecture), **own)

    def build(self, architecture: Architecture, teacher_config: Any = None) -> Any:
        """An `ElectraModel`."""
        from transformers import ElectraModel

        model: Any = ElectraModel(self.config(architecture, teacher_config))
        return model.eval()

    def transform(self, model: Any, hidden: Any) -> Any:
        """There is no head: only embedding teachers are distilled."""
        raise NotImplementedError

    def decode(self, model: Any, transformed: Any) -> Any:
        """There is no head."""
        raise NotImplementedError


ELECTRA = Electra()
PLUGIN = Plugin(families={"electra": ELECTRA})
