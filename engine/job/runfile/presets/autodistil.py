"""AutoDistil (arXiv 2201.12507): one weight-sharing super-network a sub-space, and a search that trains nothing.

The paper's: three sub-spaces as shares of the teacher, slices of the teacher ordered by importance, sandwich sampling,
the relation loss of the last layer (scores without softmax, as in the released code), all sub-networks scored on
held-out text within limits. Ours: heads divide the width, so that students are stock models; the score is the search's
own loss, for relation losses do not compare across widths; finals train on from their slice. For embedding teachers the
recipe is the default one: the relation loss says nothing of the vectors that agreement is measured on.
"""

from .preset import Preset

AUTODISTIL = Preset(
    source={"name": "supernetwork", "subspaces": ["tiny", "small", "base"], "rule": "sandwich"},
    strategy={"name": "enumerate"},
    recipe="autodistil",
    recipes={"embedding": "default"},
    trials=2_000,  # more than there are sub-networks: all are scored
)
