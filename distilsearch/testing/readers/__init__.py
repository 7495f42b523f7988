"""Every reader of files that anybody may have written, with a good file of each to be mutated.

Each reads as its command does, and as far as what is read would be used: whatever it raises that is no
`DistilSearchError` is a finding. Samples are the kept files of version 0.1.0, which lie in the tests.
"""

from . import learnt, making, runs, students, tables
from .reader import HOME, INSIDE, Finding, Reader, tried, watched, world

__all__ = ["HOME", "INSIDE", "READERS", "Finding", "Reader", "tried", "watched", "world"]

READERS: tuple[Reader, ...] = (
    Reader("run file", {"run.toml": "toml"}, making.copied("run"), runs.read_run_file),
    Reader("journal", {"journal.log": "lines"}, making.copied("run"), runs.read_journal),
    Reader("trial", {"*/trial.json": "json"}, lambda s, f: students.made_trial(s, f, True), students.read_trial),
    Reader(
        "trial of 0.1.0", {"*/trial.json": "json"}, lambda s, f: students.made_trial(s, f, False), students.read_trial
    ),
    Reader(
        "student",
        students.STUDENT_FILES,
        lambda s, f: students.made_trial(s, f, True),
        students.read_student,
        students.hashed_student,
    ),
    Reader(
        "student of 0.1.0", students.STUDENT_FILES, lambda s, f: students.made_trial(s, f, False), students.read_student
    ),
    Reader("teacher folder", students.TEACHER_FILES, making.copied("teacher"), students.read_teacher),
    Reader("export", {"served.json": "json"}, students.made_export, students.read_export),
    Reader("table", {"*/*/rounds/*": "parquet"}, tables.made_table, tables.read_table, tables.named_rounds),
    Reader("rounds", {"*/*/rounds/*": "bytes"}, tables.made_table, tables.read_table, tables.named_rounds),
    Reader(
        "predictor", {"predictor.json": "json"}, tables.with_expected(making.copied("predictor")), tables.read_predictor
    ),
    Reader(
        "trees",
        {"operators.ubj": "ubj"},
        tables.with_expected(making.copied("predictor")),
        tables.read_predictor,
        tables.hashed_trees,
    ),
    Reader("pair predictor", {"pairs.json": "json"}, tables.with_expected(making.copied("pairs")), tables.read_pairs),
    Reader("state", {"file.json": "json"}, making.made_json("engine", "state.json"), runs.read_state),
    Reader("result", {"result.json": "json"}, making.copied("run"), runs.read_result),
    Reader("results CSV", {"file.csv": "csv"}, making.made_csv(runs.RESULTS), runs.read_results_csv),
    Reader("pairs CSV", {"file.csv": "csv"}, making.made_csv(runs.PAIRS), runs.read_pairs_csv),
    Reader("architectures CSV", {"file.csv": "csv"}, making.made_csv(students.STUDENTS), students.read_architectures),
    Reader("recipe", {"file.json": "json", "file.toml": "toml"}, students.made_recipe, students.read_recipe),
    Reader("architectures JSON", {"file.json": "json"}, students.made_students, students.read_architectures),
    Reader("imported results", {"imported.json": "json"}, runs.made_imports, runs.read_imports),
    Reader("note of a run", {"file.json": "json"}, runs.made_note, runs.read_home_note),
    Reader("super-network", {"superlm.safetensors": "safetensors"}, learnt.made_super, learnt.read_super),
    Reader("score", {"file.json": "json"}, learnt.written(learnt.SCORE, "file.json"), learnt.read_score),
    Reader("rewards", {"rewards.json": "json"}, learnt.made_rewards, learnt.read_rewards, learnt.sealed_rewards),
    Reader(
        "net of rewards",
        {"rewards.safetensors": "safetensors"},
        learnt.made_rewards,
        learnt.read_rewards,
        learnt.sealed_rewards,
    ),
    Reader("plan", {"file.json": "json"}, learnt.written(learnt.PLAN, "file.json"), learnt.read_plan),
    Reader(
        "rank fidelity",
        {"fidelity/fidelity.json": "json"},
        learnt.written(learnt.FIDELITY, "fidelity", "fidelity.json"),
        learnt.read_fidelity,
    ),
    Reader("mark of a driver", {"file.json": "json"}, learnt.written(learnt.HOLDER, "file.json"), learnt.read_mark),
    Reader(
        "work of a driver", {"file.json": "json"}, learnt.written(learnt.ACTIVITY, "file.json"), learnt.read_activity
    ),
    Reader("invitation", {"file.json": "json"}, learnt.written(learnt.INVITATION, "file.json"), learnt.read_invitation),
    Reader("mark of a home", {"home.json": "json"}, learnt.written(learnt.MARK, "home.json"), learnt.read_home),
    Reader("packed text", {"blocks.safetensors": "safetensors"}, learnt.made_blocks, learnt.read_packed),
    Reader("cached targets", {"batch.safetensors": "safetensors"}, learnt.made_targets, learnt.read_targets),
)
