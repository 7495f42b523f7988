"""The house itself: package list, folders and links agree; importing is light; imports run downwards."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import distilsearch

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "predictors", "profiling", "distill")


def _configured() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_on_disk_is_listed() -> None:
    tops = [ROOT / "distilsearch", *(ROOT / room for room in ROOMS)]
    found = {f.parent for top in tops for f in top.rglob("__init__.py") if not f.parent.is_symlink()}
    names = {p.relative_to(ROOT).as_posix().replace("/", ".") for p in found}
    names = {n for n in names if not n.startswith(tuple(f"distilsearch.{room}" for room in ROOMS))}
    expected = {n if n.startswith("distilsearch") else f"distilsearch.{n}" for n in names}
    assert expected == set(_configured()["packages"])


def test_every_room_is_mapped_and_linked() -> None:
    mapped = _configured()["package-dir"]
    assert mapped == {f"distilsearch.{room}": room for room in ROOMS}
    for room in ROOMS:
        link = ROOT / "distilsearch" / room
        assert link.is_symlink()
        assert link.readlink() == Path("..") / room
        assert link.resolve() == ROOT / room


def test_no_public_name_hides_a_module() -> None:
    modules = {p.stem for p in (ROOT / "distilsearch").iterdir()}
    assert not modules & set(distilsearch.__all__)


def test_every_public_name_is_there() -> None:
    for name in distilsearch.__all__:
        assert getattr(distilsearch, name) is not None


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import distilsearch, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "xgboost", "transformers", "botorch", "optuna", "pyarrow", "numpy", "pydantic", "typer", "plotly"}
    assert not heavy & set(run.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom distilsearch.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\nprint('\\n'.join(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "xgboost", "transformers", "botorch", "optuna", "pyarrow"} & set(run.stdout.split())


def test_importing_the_strategies_for_tests_needs_neither_pytest_nor_torch() -> None:
    code = "import distilsearch.testing, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pytest", "transformers", "botorch"} & set(run.stdout.split())


def test_the_names_of_the_rooms_are_no_top_level_imports() -> None:
    code = f"import importlib.util as u; print([n for n in {ROOMS!r} if u.find_spec(n)])"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert run.stdout.strip() == "[]"


def test_contracts_name_every_module_of_the_pure_engine() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    pure = {f.stem for f in (ROOT / "engine").glob("[!_]*.py")} | {"strategies"}
    modules = {f"distilsearch.engine.{name}" for name in pure}
    (engine,) = (set(c["source_modules"]) for c in contracts if c["name"].startswith("The pure engine"))
    (report,) = (set(c["forbidden_modules"]) for c in contracts if c["name"].startswith("A report is made"))
    assert engine == modules
    assert modules <= report


def test_type_checkers_see_the_names_that_are_loaded_when_used() -> None:
    """The façade lists its names twice, since a checker cannot read the table that `__getattr__` looks them up in."""
    (block,) = (node for node in ast.parse(Path(distilsearch.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == distilsearch._HOMES
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)
