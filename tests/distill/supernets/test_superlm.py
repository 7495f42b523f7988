"""A super-network: its slices are stock models, which it scores, extracts, keeps in a file, and refuses by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import KDNAS, MLM, MOBILEBERT, RELATION, Recipe
from distilsearch.distill.students.inherit import basis as basis_of
from distilsearch.distill.students.inherit import statistics
from distilsearch.distill.students.student import build_student
from distilsearch.distill.supernets.nest import Nest
from distilsearch.distill.supernets.slices import Shared
from distilsearch.distill.supernets.superlm import FILE, SuperLM, SuperTraining, check_superlm, train_superlm
from distilsearch.distill.targets.objective import Objective
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.errors import InputError, RunError
from distilsearch.families import family
from distilsearch.testing.teachers import write_teacher

from .steps import TINY, space_of, super_of


def some(superlm: SuperLM, teacher: Teacher) -> list[Architecture]:
    """The ends, and members of other depth, width and head size."""
    nest = Nest.of(space_of(teacher), teacher.facts)
    values = nest.largest.values
    others = [{"layers": 2, "heads": 2}, {"layers": 1, "width": 32, "heads": 1}, {"width": 32, "heads": 2, "ffn": 64}]
    return [nest.smallest, nest.largest, *(Architecture(nest.largest.family, {**values, **one}) for one in others)]


def by_hand(large: dict[str, torch.Tensor], deep: int, one: Architecture) -> dict[str, torch.Tensor]:
    """The weights of a BERT sub-network, cut by the names of its weights."""
    w, f, depth = int(one["width"]), int(one["ffn"]), int(one["layers"])
    made = {}
    for name, weight in large.items():
        head, mark, tail = name.partition("encoder.layer.")
        place, _, rest = tail.partition(".")
        if mark:
            layers = [int(i / (depth / deep)) for i in range(depth)]
            if int(place) not in layers:
                continue
            name = f"{head}{mark}{layers.index(int(place))}.{rest}"
        cut = weight
        if "intermediate.dense" in name:
            cut = weight[:f, :w] if weight.dim() == 2 else weight[:f]
        elif ".output.dense.weight" in name and "attention" not in name:
            cut = weight[:w, :f]
        elif "_embeddings.weight" in name:
            cut = weight[:, :w]
        elif name != "cls.predictions.bias" and "decoder" not in name:
            cut = weight[:w, :w] if weight.dim() == 2 else weight[:w]
        made[name] = cut
    return made


@pytest.fixture
def superlm(teacher: Teacher, text: Text, tmp_path: Path) -> SuperLM:
    """One that has learnt for a few steps."""
    return train_superlm(*super_of(teacher, text, TINY, 512), tmp_path / "super")


def test_a_sub_network_is_the_top_left_of_the_largest(superlm: SuperLM, teacher: Teacher) -> None:
    large = superlm.model(superlm.training.largest).state_dict()
    for one in some(superlm, teacher):
        model = superlm.model(one)
        expected = by_hand(large, 3, one)
        assert set(expected) == set(model.state_dict())
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, expected[name]), name


def test_heads_of_one_size_are_the_first_ones_and_the_first_ones_matter_most(teacher: Teacher, text: Text) -> None:
    """The largest is as wide as the teacher here: its heads are the teacher's, in descending importance."""
    genes = {"layers": [2, 3], "width": [32, 64], "heads": [2, 4], "ffn": [96]}
    nest = Nest.of(space_of(teacher, **genes), teacher.facts)
    model, basis = build_student(teacher, nest.largest, text, ordered=True)
    shared, shown = Shared(nest.largest, model, basis), statistics(teacher, text)
    own, columns = dict(teacher.model().named_parameters()), basis.argmax(0)
    for one, layers in ((nest.largest, (0, 1, 2)), (nest.smallest, (0,))):
        assert int(one["width"]) == 16 * int(one["heads"])
        sliced, width = dict(shared.view(one).named_parameters()), int(one["width"])
        for layer in layers:
            heads = shown.heads[layer].argsort(descending=True)[: int(one["heads"])]
            rows = (heads[:, None] * 16 + torch.arange(16)).flatten()
            name = f"encoder.layer.{layer}.attention.self.value.weight"
            assert torch.equal(sliced[name], own[name][rows][:, columns[:width]])
            units = shown.ffn[layer].argsort(descending=True)[:96]
            name = f"encoder.layer.{layer}.intermediate.dense.weight"
            assert torch.equal(sliced[name], own[name][units][:, columns[:width]])


def test_the_first_directions_hold_the_most_and_a_whole_width_computes_what_the_teacher_does(
    teacher: Teacher, text: Text
) -> None:
    own = family("bert").architecture(teacher.facts)
    model, basis = build_student(teacher, own, text, ordered=True)
    assert torch.equal(basis.sum(0), torch.ones(64))
    assert not torch.equal(basis, torch.eye(64))
    assert heldout_loss(teacher, text, model, own) == pytest.approx(0, abs=1e-5)
    objective = Objective(teacher, own, TINY, model, basis, "float32")
    batch = Targets(teacher, text, TINY, "float32").batch(0)
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-3) for value in objective(batch).values())  # bfloat16
    moments = statistics(teacher, text).moments
    total = (moments / moments.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]).mean(0)
    for _, narrow in ((64, basis), (48, basis_of(statistics(teacher, text), 48, ordered=True))):
        held = (narrow.T @ (total + moments[-1] / moments[-1].trace()) @ narrow).diagonal()
        assert (held.diff() <= 1e-4).all()


def test_extracted_sub_networks_are_stock_and_give_the_same_outputs_and_losses(
    superlm: SuperLM, teacher: Teacher, text: Text, tmp_path: Path
) -> None:
    members = some(superlm, teacher)
    losses = superlm.losses(members, teacher, text)
    ids = torch.from_numpy(text.heldout[:4].astype(np.int64))
    for one, loss in zip(members, losses, strict=True):
        stock = AutoModel.from_pretrained(str(superlm.extract(one, tmp_path / one.key, loss))).eval()
        config = stock.config
        assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (
            one["layers"],
            one["width"],
            one["heads"],
        )
        assert heldout_loss(teacher, text, stock, one) == pytest.approx(loss, abs=1e-6)
        with torch.no_grad():
            ours = superlm.model(one)(input_ids=ids).last_hidden_state
            torch.testing.assert_close(stock(input_ids=ids).last_hidden_state, ours, rtol=0, atol=1e-5)
    card = (tmp_path / members[0].key / "README.md").read_text()
    assert superlm.training.key in card
    assert f"| loss | {losses[0]:.4f}" in card
    assert load_teacher(str(tmp_path / members[1].key)).kind == "embedding"
    unscored = superlm.extract(members[0], tmp_path / "unscored")
    assert "| loss |" not in (unscored / "README.md").read_text()


def test_weights_of_a_sub_network_are_its_own(superlm: SuperLM, teacher: Teacher, text: Text) -> None:
    (before,) = superlm.losses([superlm.training.largest], teacher, text)
    with torch.no_grad():
        for parameter in superlm.model(superlm.training.largest).parameters():
            parameter.zero_()
    assert superlm.losses([superlm.training.largest], teacher, text) == [before]


def test_slices_are_scored_untrained_too(teacher: Teacher, text: Text, tmp_path: Path) -> None:
    superlm = train_superlm(*super_of(teacher, text, TINY, 0), tmp_path / "super")
    model, basis = build_student(teacher, superlm.training.largest, text, ordered=True)
    cut = Shared(superlm.training.largest, model, basis)
    members = some(superlm, teacher)
    alone = [heldout_loss(teacher, text, cut.cut(one), one) for one in members]
    assert SuperLM.load(tmp_path / "super").losses(members, teacher, text) == alone


def test_masked_lm_teachers_have_super_networks_too(mlm_teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32)
    superlm = train_superlm(*super_of(mlm_teacher, text, replace(MLM, batch_tokens=256), 1_000), tmp_path / "s")
    ids = torch.from_numpy(text.heldout[:2].astype(np.int64))
    large = superlm.model(superlm.training.largest).state_dict()
    for one in some(superlm, mlm_teacher):
        model = superlm.model(one)
        assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
        assert torch.equal(model.cls.predictions.bias, large["cls.predictions.bias"])
        stock = AutoModelForMaskedLM.from_pretrained(str(superlm.extract(one, tmp_path / one.key))).eval()
        with torch.no_grad():
            torch.testing.assert_close(stock(input_ids=ids).logits, model(input_ids=ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (KDNAS, "'kdnas' trains a head of its own beside each student \\(losses hidden\\)"),
        (replace(MOBILEBERT, weights=(("logits", 1.0),)), "'mobilebert' transfers layer by layer"),
        (MLM, "the loss 'logits' needs a teacher of kind"),
    ],
)
def test_recipes_that_cannot_be_shared_are_refused_by_name(teacher: Teacher, recipe: Recipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_superlm(teacher, space_of(teacher), recipe)


def test_sub_networks_that_it_does_not_have_are_refused(superlm: SuperLM, teacher: Teacher, text: Text) -> None:
    values = superlm.training.largest.values
    for change, message in (
        ({"width": 64}, r"no sub-network of width 64; it has \[32, 48\]"),
        ({"width": 32, "heads": 3}, "3 heads do not divide a width of 32"),
    ):
        with pytest.raises(InputError, match=message):
            superlm.losses([Architecture("bert", {**values, **change})], teacher, text)
    with pytest.raises(InputError, match="expected a bert sub-network; got a roberta"):
        superlm.model(Architecture("roberta", values))


def test_an_identity_of_something_else_is_refused(teacher: Teacher, text: Text, tmp_path: Path) -> None:
    *job, training = super_of(teacher, text, TINY, 500)
    with pytest.raises(InputError, match="of another teacher, text or recipe"):
        train_superlm(*job[:3], RELATION, training, tmp_path)
    with pytest.raises(InputError, match="that of another space"):
        train_superlm(*job[:2], space_of(teacher, ffn=[64]), job[3], training, tmp_path)
    with pytest.raises(InputError, match="unknown rule of a super-network 'sandwhich': did you mean 'sandwich'"):
        super_of(teacher, text, TINY, 500, "sandwhich")
    assert not list(tmp_path.iterdir())


def test_a_training_is_plain_json_and_its_key_covers_what_the_weights_depend_on(teacher: Teacher, text: Text) -> None:
    made = super_of(teacher, text, TINY, 500)[-1]
    assert SuperTraining.from_json(json.loads(json.dumps(made.to_json()))) == made
    others = [
        super_of(teacher, text, TINY, 500, "nested")[-1],
        super_of(teacher, text, TINY, 500, seed=1)[-1],
        super_of(teacher, text, TINY, 500, ffn=[64])[-1],
        made.at(600),
    ]
    assert len({made.key, *(other.key for other in others)}) == 5
    assert made.at(600).way == made.way
    with pytest.raises(RunError, match="with colour was written by a newer version"):
        SuperTraining.from_json(made.to_json() | {"colour": 1})


@pytest.mark.parametrize("damage", [b"", b"not a file of tensors", None])
def test_what_is_no_super_network_is_refused(superlm: SuperLM, tmp_path: Path, damage: bytes | None) -> None:
    file = tmp_path / "super" / FILE
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(RunError, match="no super-network of distilsearch, or damaged"):
        SuperLM.load(tmp_path / "super")
    with pytest.raises(RunError, match="no super-network of distilsearch, or damaged"):
        SuperLM.load(tmp_path / "absent")


def test_another_teacher_is_refused(superlm: SuperLM, tmp_path: Path) -> None:
    other = load_teacher(str(write_teacher(tmp_path / "other", layer_norm_eps=1e-3)))
    with pytest.raises(RunError, match="was cut from another teacher"):
        SuperLM.load(tmp_path / "super", other)


def test_roberta_teachers_have_super_networks_too(text_file: Path, tmp_path: Path) -> None:
    teacher = load_teacher(str(_roberta(tmp_path / "roberta", text_file)))
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    superlm = train_superlm(*super_of(teacher, text, TINY, 512), tmp_path / "super")
    members = some(superlm, teacher)
    for one, loss in zip(members, superlm.losses(members, teacher, text), strict=True):
        stock = AutoModel.from_pretrained(str(superlm.extract(one, tmp_path / one.key))).eval()
        assert (stock.config.model_type, stock.config.hidden_size) == ("roberta", one["width"])
        assert heldout_loss(teacher, text, stock, one) == pytest.approx(loss, abs=1e-6)


def _roberta(folder: Path, text_file: Path) -> Path:
    """A tiny RoBERTa with a vocabulary of its own."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(set(text_file.read_text().split()))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    named = {"bos": 0, "cls": 0, "pad": 1, "eos": 2, "sep": 2, "unk": 3, "mask": 4}
    special = {f"{name}_token": words[place] for name, place in named.items()}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(str(folder))
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    config = RobertaConfig(vocab_size=len(words), max_position_embeddings=34, type_vocab_size=1, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(str(folder))
    return folder
