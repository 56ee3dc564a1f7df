"""Each package imports only from packages listed before it, and there are no import cycles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import qc_lightning

PACKAGE = Path(qc_lightning.__file__).parent
ROOMS = (
    {"core"},
    {"config"},
    {"metrics"},
    {"data"},
    {"models"},
    {"inference"},
    {"report"},
    {"evaluation"},
    {"training"},
    {"explanation"},
    {"auditing", "deployment", "service", "prediction", "sweep"},
)
FLOOR = {name: floor for floor, names in enumerate(ROOMS) for name in names}
COMMANDS = len(ROOMS)  # the files at the top and cli/


def _modules() -> dict[str, Path]:
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """A file's imports from the package, including those inside functions and for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            named = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in modules else str(node.module) for name in named}
    return {name for name in found if name.split(".")[0] == "qc_lightning"}


def _room(module: str) -> str:
    return ([*module.split("."), ""])[1]


MODULES = _modules()
GRAPH = {name: _imports(path, MODULES) for name, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_rooms_below(module: str) -> None:
    here = FLOOR.get(_room(module), COMMANDS)
    for other in GRAPH[module]:
        there = FLOOR.get(_room(other), COMMANDS)
        beside = there == here < COMMANDS and _room(other) != _room(module)
        assert there <= here, f"{module} imports {other}, which lies above it"
        assert not beside, f"{module} imports {other}, a room beside it"


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
