"""The contract of every loss, and what a loss may ask for."""

import pytest

from distilsearch.distill.losses import LOSSES, Loss
from distilsearch.errors import InputError
from distilsearch.testing.losses import LossContract


class TestLosses(LossContract):
    @pytest.fixture(params=sorted(LOSSES))
    def loss(self, request):
        return LOSSES[request.param]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"teacher": ("hiden",)}, "unknown state .*did you mean 'hidden'"),
        ({"kinds": ("casual",)}, "unknown kind of teacher .*did you mean 'causal'"),
    ],
)
def test_a_loss_that_asks_for_what_nobody_gives_is_refused(asked, message) -> None:
    with pytest.raises(InputError, match=message):
        Loss("nothing", lambda step: step.basis.sum(), **asked)
