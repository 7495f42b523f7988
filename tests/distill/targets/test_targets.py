"""The cache of targets: checked by hash, bounded, shared; and views that show the same words every time."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distilsearch.distill.course import Course
from distilsearch.distill.heldout.heldout import teacher_embeddings
from distilsearch.distill.recipes import EMBEDDING, MOBILEBERT, RELATION, View
from distilsearch.distill.rehearsal import Rehearsal, rehearse
from distilsearch.distill.targets import cache
from distilsearch.distill.targets import targets as module
from distilsearch.distill.targets.batch import Batch, make_batch, whole_words
from distilsearch.distill.targets.cache import open_set, outputs_key, read_targets, set_folder, write_targets
from distilsearch.distill.targets.targets import Targets, ask_teacher, target_names
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, add_frame, framing, measured_on
from distilsearch.errors import InputError
from distilsearch.testing.teachers import write_teacher

RECIPE = replace(EMBEDDING, batch_tokens=256, views=(View(),))


def _equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(first.targets[name], second.targets[name]) for name in first.targets)


def test_the_teacher_is_asked_once(teacher: Teacher, text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Targets(teacher, text, RECIPE, "float32").batch(0)

    def never(*arguments: object) -> None:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(module, "ask_teacher", never)
    assert _equal(Targets(teacher, text, RECIPE, "float32").batch(0), first)


def _measured_on_fewer(text: Text) -> Text:
    return measured_on(text, len(text.heldout) - 1)


def test_texts_that_differ_in_what_is_held_out_share_targets(
    teacher: Teacher, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Targets(teacher, text, RECIPE, "float32").batch(0)
    monkeypatch.setattr(module, "ask_teacher", None)
    assert _equal(Targets(teacher, _measured_on_fewer(text), RECIPE, "float32").batch(0), first)


def test_targets_that_a_former_version_named_by_the_whole_text_are_found(
    teacher: Teacher, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = Targets(teacher, text, RECIPE, "float32")
    first = targets.batch(0)
    assert targets._folder is not None
    former = targets._folder.rename(set_folder(targets._key(text.sha256)))
    monkeypatch.setattr(module, "ask_teacher", None)
    again = Targets(teacher, text, RECIPE, "float32")
    assert _equal(again.batch(0), first)
    assert again._folder == former


def test_a_seed_orders_batches_and_changes_nothing_in_them(teacher: Teacher, text: Text) -> None:
    """What one seed has cached is what the live teacher says of another one's batch."""
    recipe = replace(RECIPE, views=(View(), View(16, 0.1)))
    for step in range(2 * Targets(teacher, text, recipe, "float32").batches):
        Targets(teacher, text, recipe, "float32", seed=1).batch(step)
    orders = set()
    for seed in (0, 1, 2):
        kept = Targets(teacher, text, recipe, "float32", seed=seed)
        live = Targets(teacher, text, recipe, "float32", cache_limit=0, seed=seed)
        assert kept._folder == Targets(teacher, text, recipe, "float32")._folder
        orders.add(tuple(kept.order(0)))
        for step in range(3):
            assert torch.equal(kept.batch(step).input_ids, live.batch(step).input_ids)
            assert _equal(kept.batch(step), live.batch(step))
    assert len(orders) == 3


@pytest.mark.parametrize("names", [("keys",), ("values",), ("hidden", "queries")])
def test_whatever_is_of_one_layer_is_known_by_it(teacher: Teacher, text: Text, names: tuple[str, ...]) -> None:
    sets = set()
    for layer in (-1, 0):
        targets = Targets(teacher, text, replace(RECIPE, layer=layer), "float32")
        targets.names = names
        sets.add(targets._folder)
    assert len(sets) == 2


def test_two_shares_of_noise_are_two_files_and_a_usual_one_is_named_as_ever(teacher: Teacher, text: Text) -> None:
    targets = Targets(teacher, text, RECIPE, "float32")
    for noise in (0.1, 0.1 + 1e-9):
        targets.get(0, View(0, noise))
    folder = targets._folder
    assert folder is not None
    assert {path.name for path in folder.glob("000000-0-0.1*")} == {
        "000000-0-0.1.safetensors", "000000-0-0.100000001.safetensors"
    }  # fmt: skip


class Elsewhere(torch.Tensor):
    """A tensor of another device: its bytes are to be had on the CPU alone."""

    def cpu(self) -> torch.Tensor:  # type: ignore[override]
        return self.as_subclass(torch.Tensor)

    def numpy(self) -> None:  # type: ignore[override]
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_targets_computed_on_another_device_are_kept() -> None:
    pooled = torch.randn(3, 4)
    path = open_set("elsewhere") / "0.safetensors"
    write_targets(path, {"pooled": pooled.as_subclass(Elsewhere)}, 100_000)
    kept = read_targets(path, ("pooled",))
    assert kept is not None
    assert torch.equal(kept["pooled"], pooled)


@pytest.mark.parametrize("damage", [lambda b: b[:-4], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_damaged_targets_are_made_again(teacher: Teacher, text: Text, damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = Targets(teacher, text, RECIPE, "float32")
    first = source.batch(0)
    copies = {name: value.clone() for name, value in first.targets.items()}
    path = next(cache.targets_folder().rglob("000000-*.safetensors"))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(content))
    assert _equal(source.batch(0), Batch(first.input_ids, first.masked, first.labels, copies))


def test_the_least_recently_used_set_goes_first() -> None:
    folders = {name: open_set(name) for name in ("old", "middle", "new", "next")}
    kilobyte = {"pooled": torch.zeros(250)}
    for age, folder in enumerate(folders.values()):
        write_targets(folder / "0.safetensors", kilobyte, 100_000)
        os.utime(folder / "used", (1_000_000 + age,) * 2)
    read_targets(folders["old"] / "0.safetensors", ("pooled",))
    write_targets(folders["next"] / "1.safetensors", kilobyte, cache.HEADER + 4_000)
    assert [name for name, folder in folders.items() if folder.exists()] == ["old", "next"]
    write_targets(folders["middle"] / "1.safetensors", kilobyte, 100_000)
    assert not folders["middle"].exists()


def test_the_limit_holds_over_several_writers(teacher: Teacher, text: Text) -> None:
    recipe = replace(RELATION, batch_tokens=256)
    limit = int(1.1 * Targets(teacher, text, recipe, "float32")._bytes())
    writers = [Targets(teacher, text, replace(recipe, layer=n), "float32", limit) for n in (-1, 0)]
    for step in range(writers[0].batches):
        for writer in writers:
            writer.batch(step)
        assert sum(path.stat().st_size for path in cache.targets_folder().glob("set-*/*.safetensors")) <= limit


def test_views_do_not_give_up_each_other(teacher: Teacher, text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(EMBEDDING, batch_tokens=256, views=(View(), View(16, 0.15), View(), View(16, 0.3)))
    limit = int(1.5 * Targets(teacher, text, recipe, "float32")._bytes())
    ask, asked = module.ask_teacher, []
    monkeypatch.setattr(module, "ask_teacher", lambda *a: (asked.append(1), ask(*a))[1])
    for times in (1, 0, 0):
        asked.clear()
        targets = Targets(teacher, text, recipe, "float32", limit)
        for step in range(targets.batches):
            targets.batch(step)
        assert len(asked) == times * targets.batches
    for step in range(4 * targets.batches):  # the other epochs' views do not fit, and are asked for live
        targets.batch(step)
    assert sum(path.stat().st_size for path in cache.targets_folder().glob("set-*/*.safetensors")) <= limit


WRITER = """
import sys, torch
from distilsearch.distill.targets.cache import open_set, read_targets, write_targets
for turn in range(200):
    folder = open_set(sys.argv[1])
    for place in range(4):
        write_targets(folder / f"{place}.safetensors", {"a": torch.zeros(50)}, 5_500)
        read_targets(folder / f"{place}.safetensors", ("a",))
"""


def test_writers_that_give_up_each_others_sets_go_on() -> None:
    command = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in ("one", "two")]
    assert [writer.communicate()[1].decode() for writer in writers] == ["", ""]


def test_targets_that_would_not_fit_are_not_cached(teacher: Teacher, text: Text) -> None:
    Targets(teacher, text, RECIPE, "float32", cache_limit=1_000).batch(0)
    assert not list(cache.targets_folder().glob("set-*"))


def test_a_training_whose_own_targets_fit_is_cached_though_an_epoch_would_not(teacher: Teacher, text: Text) -> None:
    limit = Targets(teacher, text, RECIPE, "float32")._bytes() // 2
    most = Targets(teacher, text, RECIPE, "float32", limit).most_cached
    assert most is not None
    assert 0 < most < len(text.train) * text.block
    long, short = (Targets(teacher, text, RECIPE, "float32", limit, tokens=tokens) for tokens in (most + 1, most))
    live = long.batch(0)
    assert not list(cache.targets_folder().glob("set-*"))
    assert _equal(short.batch(0), live)
    steps = most // RECIPE.batch_tokens
    for step in range(steps):
        short.batch(step)
    files = list(cache.targets_folder().glob("set-*/*.safetensors"))
    assert steps - 1 <= len(files) <= steps  # heads of files are not foreseen, and weigh here
    assert sum(path.stat().st_size for path in files) <= limit


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_rehearsal_tells_the_teacher_apart_from_a_step(
    teacher: Teacher, text: Text, make_architecture, limit
) -> None:  # type: ignore[no-untyped-def]
    course = Course(teacher, text, RECIPE, 10**12, 0, "float32")
    (one,) = rehearse(course, [make_architecture(teacher)], cache_limit=limit, seconds=0.0)
    assert one.most_cached == (None if limit else 0)
    assert one.targets > 0 or limit
    assert one.step > 0
    assert Rehearsal.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert len(list(cache.targets_folder().glob("set-*/*.safetensors"))) == (1 if limit else 0)


def test_a_rehearsal_reckons_the_blocks_of_the_probe_that_there_are(
    teacher: Teacher, text: Text, make_architecture
) -> None:  # type: ignore[no-untyped-def]
    course = Course(teacher, text, RECIPE, 10**12, 0, "float32")
    (none,) = rehearse(course, [make_architecture(teacher)], seconds=0.0)
    (one,) = rehearse(course, [make_architecture(teacher)], seconds=0.0, probe=5)
    assert none.scoring == 0.0
    assert one.scoring == pytest.approx(2 * (one.start + one.look * 5 / one.heldout))


def test_targets_depend_on_precision_and_recipe(teacher: Teacher, text: Text) -> None:
    for recipe, precision in ((RECIPE, "float32"), (RECIPE, "bf16"), (replace(RELATION, batch_tokens=256), "float32")):
        Targets(teacher, text, recipe, precision).batch(0)
    assert len(list(cache.targets_folder().glob("set-*"))) == 3
    assert target_names(RELATION) == ("pooled", "queries", "keys", "values")


def test_targets_depend_on_pooling_and_config(teacher: Teacher, text: Text, tmp_path: Path) -> None:
    shutil.copytree(teacher.folder, tmp_path / "same")
    first = Targets(teacher, text, RECIPE, "float32").batch(0).targets
    mean = teacher_embeddings(teacher, text)
    for name, path, change in (
        ("cls", "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}),
        ("relu", "config.json", {"hidden_act": "relu"}),
    ):
        folder = tmp_path / name
        shutil.copytree(teacher.folder, folder)
        (folder / path).write_text(json.dumps(json.loads((folder / path).read_text()) | change))
        other = load_teacher(str(folder))
        assert other.weights_sha256 == teacher.weights_sha256
        cached, live = (Targets(other, text, RECIPE, "float32", limit).batch(0).targets for limit in (1 << 30, 0))
        assert torch.equal(cached["pooled"], live["pooled"])
        assert not torch.allclose(cached["pooled"], first["pooled"])
        assert not torch.allclose(teacher_embeddings(other, text), mean)
    assert outputs_key(load_teacher(str(tmp_path / "same"))) == outputs_key(teacher)


def test_views_that_hold_no_word_are_refused(teacher: Teacher, text: Text) -> None:
    with pytest.raises(InputError, match="pieces of 2 tokens, and here they hold at least 3"):
        Targets(teacher, text, replace(RECIPE, views=(View(), View(2))), "float32")
    Targets(teacher, text, replace(RECIPE, views=(View(3), View(32))), "float32").batch(0)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("length", [32, 33, 1_000])
def test_a_view_beyond_the_block_shows_the_whole_of_it(length: int, noise: float, teacher: Teacher, text: Text) -> None:
    views = [Targets(teacher, text, replace(RECIPE, views=(View(n, noise),)), "float32") for n in (0, length)]
    whole, beyond = (targets.batch(0) for targets in views)
    assert torch.equal(whole.input_ids, beyond.input_ids)
    assert torch.equal(whole.targets["pooled"], beyond.targets["pooled"])


def test_pairs_need_words_on_both_sides(mlm_teacher: Teacher, text: Text) -> None:
    pairs = replace(MOBILEBERT, batch_tokens=256)
    with pytest.raises(InputError, match="pieces of 4 tokens, and here they hold at least 5"):
        Targets(mlm_teacher, text, replace(pairs, views=(View(4),)), "float32")
    Targets(mlm_teacher, text, replace(pairs, views=(View(5),)), "float32").batch(0)


def test_noise_exchanges_whole_words_only(teacher: Teacher, text: Text) -> None:
    plain = make_batch(teacher, text.train[:8], View(), 0.15, (0,)).input_ids
    noisy = make_batch(teacher, text.train[:8], View(0, 0.5), 0.15, (0,)).input_ids
    changed = (plain != noisy).numpy()
    assert 0.3 < changed[:, 1:-1].mean() < 0.6
    assert not changed[:, [0, -1]].any()
    assert np.isin(noisy.numpy()[changed], whole_words(teacher)).all()


def test_pieces_that_end_with_a_sentence_are_padded_behind_their_frame(tmp_path: Path) -> None:
    reader = load_teacher(str(write_teacher(tmp_path, words=("aaa", "bbb", "."))))
    first, second, stop = reader.tokenizer.convert_tokens_to_ids(["aaa", "bbb", "."])
    inner = np.array([[first, stop, second, second], [second, first, second, first]], np.int32)
    batch = make_batch(reader, add_frame(inner, framing(reader)), View(ends=True), 0.15, (0,))
    begin, end, nothing = (getattr(reader.tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad"))
    assert batch.attention_mask is not None
    assert batch.input_ids.tolist() == [[begin, first, stop, end, nothing, nothing], [begin, *inner[1], end]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    ours, theirs = batch.part(0, 2), batch.part(1, 2)
    assert (ours.share, theirs.share) == (0.8, 1.2)
    assert (ours.attention_mask == batch.attention_mask[:1]).all()


def test_what_is_learnt_of_padded_sequences_is_what_is_learnt_of_each_alone(tmp_path: Path) -> None:
    reader = load_teacher(str(write_teacher(tmp_path, words=("aaa", "bbb", "."))))
    vocabulary = np.array(reader.tokenizer.convert_tokens_to_ids(["aaa", "bbb", "."]))
    inner = vocabulary[np.random.default_rng(0).integers(0, 3, (4, 30))].astype(np.int32)
    blocks = add_frame(inner, framing(reader))
    recipe = replace(EMBEDDING, weights=(("tokens", 1.0), ("embedding", 1.0), ("similarity", 1.0)))
    names = target_names(recipe)
    batch = make_batch(reader, blocks, View(8, ends=True, sentences=True), 0.15, (0,))
    assert batch.attention_mask is not None
    assert 0 < batch.attention_mask.float().mean() < 1
    told = ask_teacher(reader, batch, names, -1, "float32")
    for row, shown in enumerate(batch.attention_mask.sum(1).tolist()):
        alone = Batch(batch.input_ids[row : row + 1, :shown], batch.masked, batch.labels)
        own = ask_teacher(reader, alone, names, -1, "float32")
        torch.testing.assert_close(told["pooled"][row : row + 1], own["pooled"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(told["hidden"][row : row + 1, :shown], own["hidden"], rtol=2e-2, atol=2e-2)


def test_masking_hides_the_named_share(mlm_teacher: Teacher, text: Text) -> None:
    batch = make_batch(mlm_teacher, text.train[:8], View(), 0.15, (0,))
    assert len(batch.labels) == round(0.15 * 8 * 30)
    shown = batch.input_ids.flatten()[batch.masked]
    assert 0.6 < (shown == mlm_teacher.tokenizer.mask_token_id).float().mean() < 0.95
    np.testing.assert_array_equal(batch.labels.numpy(), text.train[:8].flatten()[batch.masked.numpy()])


def test_pairs_are_two_halves_of_which_some_follow(mlm_teacher: Teacher, text: Text) -> None:
    batch = make_batch(mlm_teacher, text.train[:16], View(), 0.15, (3,), pairs=True)
    ids, tokenizer = batch.input_ids.numpy(), mlm_teacher.tokenizer
    assert batch.segments is not None
    assert batch.follows is not None
    assert ids.shape == (16, 32)
    assert (ids == tokenizer.sep_token_id).sum(1).tolist() == [2] * 16
    assert all(row[:16].sum() == 0 and row[16:].all() for row in batch.segments)  # [CLS] 14 words [SEP] | 15 [SEP]
    assert (ids[:, 15] == tokenizer.sep_token_id).all()
    assert 0 < int(batch.follows.sum()) < 16
    shown = ids.copy()
    shown.reshape(-1)[batch.masked.numpy()] = batch.labels.numpy()  # what stood there before it was hidden
    assert np.array_equal(shown[:, 1:15], text.train[:16, 1:15])
    own, other = text.train[:16, 15:30], np.roll(text.train[:16, 15:30], 1, axis=0)
    assert np.array_equal(shown[:, 16:31], np.where(batch.follows[:, None].bool().numpy(), own, other))
    half = batch.part(1, 2)
    assert half.segments is not None
    assert half.follows is not None
    assert torch.equal(half.follows, batch.follows[1::2])
