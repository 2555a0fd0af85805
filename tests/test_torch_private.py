"""Private names of PyTorch stand in one file, and each of them is there in the torch that is installed."""

import ast
import importlib
from pathlib import Path

import pytest
import torch

import carousel

SOURCE = Path(carousel.__file__).parent
HERE = SOURCE / "torch_private.py"
# NamedTuple's, sys's, os's and functools'
PYTHONS_OWN = {"_make", "_replace", "_fields", "_asdict", "_getframe", "_exit", "_lru_cache_wrapper"}

# The private attributes that torch_private.py reads of objects, and an object that should have each.
OBJECTS = {
    "_base": torch.zeros(2)[:1],
    "_version": torch.zeros(2),
    "_cdata": torch.zeros(2).untyped_storage(),
    "_schema": torch.ops.aten.add.Tensor,
    "_overloadname": torch.ops.aten.add.Tensor,
    **dict.fromkeys(("_parameters", "_buffers", "_modules"), torch.nn.Module()),
    **dict.fromkeys(("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"), torch.nn.Module()),
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def chain(node):
    """torch.a.b as ["torch", "a", "b"]; None for an attribute of anything but a name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else None


def imported(tree):
    """(module, name) of everything that is imported from torch; the name is None for a module as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "torch")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "torch":
            yield from ((node.module, alias.name) for alias in node.names)


def own_names(trees):
    """Private names that carousel itself defines or assigns: of classes, functions and attributes."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__":  # of a frozen dataclass
            yield node.args[1].value


def private_uses(tree, own):
    """What a file uses of torch that is private, or experimental."""
    for module, name in imported(tree):
        if any(is_private(part) or part == "experimental" for part in [*module.split("."), name or ""]):
            yield f"{module}.{name}" if name else module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in {*own, *PYTHONS_OWN}:
            yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and node.value in OBJECTS:
            yield node.value


def missing(tree):
    """The names of a file that the installed torch does not have."""
    there = {"torch": torch}
    for module, name in imported(tree):
        try:
            found = importlib.import_module(module)
        except ImportError:
            yield module
            continue
        if name is not None and not hasattr(found, name):
            yield f"{module}.{name}"
        elif name is not None:
            there[name] = getattr(found, name)
    for node in ast.walk(tree):
        names = chain(node)
        if names is None or names[0] not in there:
            continue
        found = there[names[0]]
        for part in names[1:]:
            if not hasattr(found, part):
                yield ".".join(names)
                break
            found = getattr(found, part)


def test_every_private_name_is_there():
    gone = sorted(set(missing(ast.parse(HERE.read_text()))))
    gone += [f"{type(thing).__name__}.{name}" for name, thing in OBJECTS.items() if not hasattr(thing, name)]
    assert not gone, f"torch {torch.__version__} no longer has {', '.join(gone)}; carousel/torch_private.py needs another way"


def test_attributes_of_objects_are_on_the_list():
    read = {node.value for node in ast.walk(ast.parse(HERE.read_text())) if isinstance(node, ast.Constant)}
    assert {name for name in read if isinstance(name, str) and is_private(name)} == set(OBJECTS)


def test_private_names_stand_in_one_file():
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py")) if path != HERE}
    own = set(own_names(trees.values()))
    found = [f"{path.relative_to(SOURCE)}: {use}" for path, tree in trees.items() for use in private_uses(tree, own)]
    assert not found, "take it from carousel/torch_private.py"


@pytest.mark.parametrize(
    "code",
    [
        "from torch._guards import TracingContext",
        "from torch.utils import _pytree as pytree",
        "import torch._dynamo",
        "from torch.fx.experimental.proxy_tensor import make_fx",
        "torch._C._nn.gelu(x)",
        "forward_ad._current_level",
        "x._base",
        "x.untyped_storage()._cdata",
        'attrgetter("_version")',
    ],
)
def test_a_private_name_is_found(code):
    assert list(private_uses(ast.parse(code), {"_own"}))


@pytest.mark.parametrize("code", ["self._own", "x._replace(y=1)", "from torch import nn", "torch.Tensor", "a.__dict__"])
def test_other_names_are_left_alone(code):
    assert not list(private_uses(ast.parse(code), {"_own"}))


def test_a_name_that_is_gone_is_named():
    code = "from torch._no_module import x\nfrom torch._C import no_name\ntorch._C._functorch.no_function()\ntorch._C._nn.gelu\n"
    code += "from torch.nn.modules import module\nmodule._global_no_hooks"
    assert set(missing(ast.parse(code))) == {
        "torch._no_module",
        "torch._C.no_name",
        "torch._C._functorch.no_function",
        "module._global_no_hooks",
    }
