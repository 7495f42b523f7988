"""The commands about students, and about the home that keeps them: parse, call, print."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_progress import loading, shown_progress, stopped_by_interrupt
from .cli_words import Json, print_json
from .errors import InputError

if TYPE_CHECKING:
    from distilsearch.distill.store.deliver import Delivery, Order

    from .architecture import Architecture
    from .families import Family, TeacherFacts

commands = typer.Typer()


@commands.command()
def distill(
    what: Annotated[
        list[str], typer.Argument(help="RUN [KEY ...], or genes such as layers=2 width=384 heads=12 ffn=768")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the student; of several, the folder of their folders")],
    teacher: Annotated[str | None, typer.Option(help="Folder, hub name, or quickstart; with a RUN, its own")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Files, folders, datasets names, or python-docs")] = None,
    text_temperature: Annotated[float | None, typer.Option(help="Above 1: evens out the texts, one a language")] = None,
    text_tokens: Annotated[int | None, typer.Option(help="Tokens read of each text, for streams without end")] = None,
    text_block: Annotated[int | None, typer.Option(help="Tokens of a block; default: 128, or fewer by teacher")] = None,
    text_heldout: Annotated[int | None, typer.Option(help="Held-out blocks to measure on, at most")] = None,
    text_column: Annotated[str | None, typer.Option(help="Where rows of CSV, JSON or datasets hold text")] = None,
    prompt: Annotated[str | None, typer.Option(help="Name of a teacher's prompt, put before every text")] = None,
    probe_text: Annotated[
        list[str] | None, typer.Option(help="A second text, never trained on, to score students on; or none")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Name of a recipe, or a TOML or JSON file")] = None,
    family: Annotated[str, typer.Option(help="Family of the student; default: the teacher's")] = "",
    tokens: Annotated[int, typer.Option(help="Tokens to train on")] = 2_000_000,
    seed: Annotated[int | None, typer.Option(help="Seed; default: the RUN's, or 0")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bf16; default: the RUN's, or auto")] = None,
    device: Annotated[str, typer.Option(help="cpu, or auto for the best one that is there")] = "cpu",
    accumulate: Annotated[int, typer.Option(help="Parts each batch is computed in")] = 1,
    track: Annotated[list[str] | None, typer.Option(help="tensorboard, wandb; logs lie beside --out")] = None,
    pairs: Annotated[list[Path] | None, typer.Option(help="csv of sentence, sentence, score for the card")] = None,
    quality: Annotated[str | None, typer.Option(help="What its loss is: loss or accuracy; default: the RUN's")] = None,
) -> None:
    """Distil winners of a run, or one architecture; called again, with more tokens or interrupted, it continues."""
    changes: dict[str, Any] = {
        "teacher": teacher,
        "text": tuple(text) if text else None,
        "prompt": prompt,
        "recipe": recipe,
        "seed": seed,
    }
    changes |= {"text_temperature": text_temperature, "text_tokens": text_tokens, "text_block": text_block}
    changes |= {"text_heldout": text_heldout, "text_column": text_column}
    changes |= {"precision": precision, "quality": quality}
    changes |= {"probe_text": tuple(probe_text) if probe_text else None}
    from .engine.job.preflight import check_order, check_training

    if tokens < 1:
        raise InputError(f"--tokens should be more than 0; got {tokens}")
    check_order(what, out, teacher, text, probe_text)
    if "=" in what[0]:
        _check_genes(what, family, teacher)
    check_training(device, precision, quality, recipe, pairs or ())
    order = _order(what, family, tokens, changes | {"pairs": tuple(pairs or ())})
    with shown_progress() as progress, stopped_by_interrupt() as between:
        with loading(progress):
            from distilsearch.distill.store.deliver import deliver
        trackers = tuple(track or ())
        deliveries = deliver(
            order, out, progress=progress, device=device, accumulate=accumulate, trackers=trackers, between=between
        )
    for made in deliveries:
        _print_delivery(made)


def _print_delivery(made: "Delivery") -> None:
    """What was delivered, in a line; that training bought nothing is said to whoever reads errors."""
    from .distill.quality import parts_words
    from .distill.store.bought import NOTHING

    trial = made.trial
    few = f", on {trial.untrained_blocks:,} of them" if trial.untrained_blocks else ""
    start = "" if trial.untrained_loss is None else f" ({trial.untrained_loss:.4f} untrained{few})"
    took = f"{trial.tokens:,} tokens in {trial.seconds:.0f} s"
    more = "".join(f", {name} {gain.words}" for name, gain in [*made.gains.items()][1:])
    loss = f"loss on {made.heldout_blocks:,} held-out blocks {trial.loss:.4f}{parts_words(trial.parts)}"
    print(f"{took}, {loss}{start}{more}: {made.folder}")
    if made.bought_nothing:
        typer.echo(f"{made.folder}: {NOTHING}", err=True)


@commands.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(help="Folders or hub names of models, or quickstart")],
    name: Annotated[
        str, typer.Option("--with", help="similarity, glue, heldout, words, next_sentence ...")
    ] = "similarity",
    on: Annotated[
        list[Path] | None,
        typer.Option(
            "--on",
            "--pairs",
            help="Its data: a csv of sentence, sentence, score, with a header or without; for glue a task's folder",
        ),
    ] = None,
    teacher: Annotated[str, typer.Option(help="What heldout compares with: folder, hub name, or quickstart")] = "",
    text: Annotated[list[str] | None, typer.Option(help="Whose held-out blocks; as for distill")] = None,
    text_block: Annotated[int | None, typer.Option(help="Tokens of a block; default: 128, or fewer by model")] = None,
    text_heldout: Annotated[
        int | None,
        typer.Option(min=1, help="Held-out blocks to score on, at most; default: as a RUN/students/KEY had, or all"),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Where rows of CSV, JSON or datasets hold text")] = "text",
    prompt: Annotated[str, typer.Option(help="Name of one of the model's prompts, put before every text")] = "",
    option: Annotated[list[str] | None, typer.Option(help="Of the evaluation, such as seeds=1 or rows=500")] = None,
    as_json: Json = False,
) -> None:
    """Score models, students or teachers; what is known of a kept student is not computed again."""
    from distilsearch.distill.given import check_given
    from distilsearch.distill.teachers.named import check_names

    given = pairs(option or [], "an option as name=value, such as seeds=1")
    files = [path for path in on or () if not path.is_dir()]  # a folder is the evaluation's to judge
    check_names([*models, teacher], text or (), files, "a CSV file, or for glue the folder of a task")
    if text_heldout is not None and not text:
        raise InputError("--text-heldout is of the blocks of a --text; name that too, or leave it out")
    check_given(name, on or (), teacher, text or ())
    with shown_progress() as progress:
        with loading(progress):
            from .distill.evaluate.scores import score_all
            from .engine.job.outcome.winners import most_heldout
            from .engine.job.runfile.evaluations import options_of

        options = options_of(name, {key: json_or_text(value) for key, value in given.items()})
        options = {key: value for key, value in options.items() if key in given}
        most = text_heldout or most_heldout(models if text else ())
        scores = score_all(
            models, name, on or (), teacher, text or (), text_column, prompt, progress, text_block, options, most
        )
    if as_json:
        one = {"model": models[0], "evaluation": name, "scores": scores[models[0]]}
        print_json(one if len(scores) == 1 else {"evaluation": name, "models": scores})
        return
    print("\n".join(_lines(scores)))


def _lines(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[str]:
    """Scores in words, a line an evaluation of a model."""
    for model, each in scores.items():
        for what, values in each.items():
            words = ", ".join(f"{key} {value:.4f}" for key, value in values.items())
            yield f"{f'{model}, ' if len(scores) > 1 else ''}{what}: {words}"


@commands.command()
def export(
    model: Annotated[str, typer.Argument(help="Folder of a student or teacher, hub name, or quickstart")],
    out: Annotated[Path, typer.Option(help="Folder of what is served")],
    runtime: Annotated[
        list[str] | None, typer.Option(help="onnxruntime (default) or openvino; may be repeated")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 (default) or int8; may be repeated")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Text like what will be read, to check and calibrate on")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Name of a prompt that texts will begin with; default: the model's")] = "",
    most_lost: Annotated[float | None, typer.Option(help="What int8 may add to the loss; default: 0.05")] = None,
    as_json: Json = False,
) -> None:
    """Export a model for a runtime, checked against torch; again with another, the folder holds both."""
    from .distill.served.asked import MOST_LOST, check_export, ways_of

    ways = ways_of(runtime or ["onnxruntime"], dtype or ["float32"])
    most = MOST_LOST if most_lost is None else most_lost
    check_export(model, out, ways, text or (), most)
    with shown_progress() as progress:
        with loading(progress):
            from .distill.served.beside import lines, said
            from .distill.served.export import export as exported
        made = exported(model, out, ways, text or (), prompt, progress, most)
    if as_json:
        print_json({"folder": str(out), "artefacts": [artefact.to_json() for artefact in made]})
        return
    for artefact in made:
        print(said(artefact))
    print("\n".join([f"to run it, in {made[0].folder}:", "", *lines(made[0])]))  # not indented, so as to be pasted


@commands.command()
def fidelity(
    what: Annotated[Path | None, typer.Argument(help="Run file, or a run's folder; default: the quickstart")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where fidelity.json goes; of a RUN also into its own")] = None,
    budgets: Annotated[list[int] | None, typer.Option(help="Tokens; given twice or more")] = None,
    students: Annotated[int, typer.Option(help="Students, spread over the space's sizes")] = 12,
    fresh: Annotated[int, typer.Option(help="How many of them start from random weights")] = 0,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a TOML or JSON file")] = "",
    also: Annotated[list[str] | None, typer.Option(help="Further recipe, tried at the shortest budget alone")] = None,
) -> None:
    """Measure how well short distillation orders students: Spearman and Kendall, with 90 % intervals."""
    from .cli_words import fidelity_lines
    from .engine.job.preflight import check_fidelity, check_recipe_name

    check_fidelity(what, folder)
    for name in (recipe, *(also or ())):
        check_recipe_name(name)
    asked = (what, folder, budgets or (), students, fresh, recipe, also or ())
    with shown_progress() as progress, stopped_by_interrupt() as between:
        with loading(progress):
            from .engine.job.commands.ranks import rank_fidelity
        measured = rank_fidelity(*asked, progress=progress, between=between)
    print("\n".join(fidelity_lines(measured)))


@commands.command()
def home(
    clean: Annotated[bool, typer.Option("--clean", help="Say what would be removed")] = False,
    older_than: Annotated[float, typer.Option(help="Days since it was last used")] = 0.0,
    keep_trunks: Annotated[bool, typer.Option("--keep-trunks", help="All trunks stay")] = False,
    former: Annotated[bool, typer.Option("--former", help="Also trials of 0.1.0, whose runs left no notes")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clean: remove it")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Hold every student's files against their hashes")] = False,
    as_json: Json = False,
) -> None:
    """List what the shared folder holds; with --clean, what may go: never a student that a run still shows.

    Trunks go, too, unless --keep-trunks: a longer training of their student then begins from its start.
    """
    of_clean = {"older-than": older_than, "keep-trunks": keep_trunks, "former": former, "yes": yes}
    if not clean and (given := [f"--{name}" for name, value in of_clean.items() if value]):
        raise InputError(f"{' and '.join(given)} say what --clean removes; give --clean too, or leave them out")
    if older_than < 0:
        raise InputError(f"--older-than is a number of days, 0 or more; got {older_than:g}")
    from .cli_words import home_table, print_wide, size
    from .engine.job.commands.inventory import inventory, removable, remove

    items = inventory(verify)
    going = removable(items, older_than, keep_trunks, former) if clean else items
    if clean and yes:
        remove(going)
    if as_json:
        print_json({"schema": 1, "removed": clean and yes, "entries": [item.to_json() for item in going]})
        return
    print_wide(home_table(going))
    total = size(sum(item.bytes for item in going))
    if clean and yes:
        print(f"removed: {len(going)} entries, {total}")
    elif clean:
        print(f"would be removed: {len(going)} entries, {total}; again with --yes to remove them")
    else:
        print(f"{total} in all")


def only(kind: "Family", genes: list[str], facts: "TeacherFacts | None" = None) -> "Architecture":
    """The one architecture that named genes fix; `inherit`, which changes no shape, may be left open."""
    from .architectures import architecture_of, value_of

    named = pairs(genes, "genes as name=value, such as layers=2")
    return architecture_of(kind, {name: value_of(value) for name, value in named.items()}, facts)


def _check_genes(words: list[str], family_name: str, teacher: str | None) -> None:
    """Refuse genes that fix no student before the teacher is opened, as far as its files are here to be looked at."""
    from distilsearch.distill.teachers.named import teacher_at_hand

    from .engine.job.preflight import check_made
    from .families import FAMILIES, family, family_of

    pool = pairs(words, "genes as name=value, such as layers=2").get("pool", "mean")
    there = teacher_at_hand(teacher, pool) if teacher else None
    if there and family_name:
        check_made(family_name, there.model_type)
    own = family_name or (there and family_of(there.model_type).name)
    mistakes: list[InputError] = []
    for kind in [family(own)] if own else FAMILIES.values():
        try:
            only(kind, words, there and there.facts)
        except InputError as error:
            mistakes.append(error)
        else:
            return
    raise mistakes[0]


def pairs(texts: list[str], expected: str) -> dict[str, str]:
    """Words such as name=value as a dict."""
    named: dict[str, str] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value):
            raise InputError(f"expected {expected}; got {text!r}")
        if name in named:
            raise InputError(f"{name} is given twice, as {named[name]!r} and {value!r}; give it once")
        named[name] = value
    return named


def json_or_text(text: str) -> Any:
    """A value as JSON, such as 3, true or [1e-4]; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _order(words: list[str], family_name: str, tokens: int, changes: dict[str, Any]) -> "Order":
    """What was asked for: students of a RUN, or the one that genes name."""
    if "=" not in words[0]:
        from .engine.job.outcome.winners import winners_order

        return winners_order(Path(words[0]), words[1:], tokens, **changes)
    given = {name: value for name, value in changes.items() if value is not None}
    if "teacher" not in given or "text" not in given:
        raise InputError("an architecture needs --teacher and --text; a RUN brings its own")
    from distilsearch.distill.store.deliver import Order
    from distilsearch.distill.teachers.teacher import load_teacher

    from .distill.material import Material
    from .families import family
    from .families.cuts import GENE, is_subset, spelt

    material = Material(**{name: given.pop(name) for name in [*given] if name in Material.__dataclass_fields__})
    facts = load_teacher(material.teacher).facts
    student = spelt(only(family(family_name or facts.family), words, facts), facts)
    left = is_subset(student.values.get(GENE)) and not any(word.startswith(f"{GENE}=") for word in words)
    whole = left and student.values.get("layers") == facts.layers  # which has no choice
    return Order(material, {student: {}}, tokens, **given, open=left and not whole)
