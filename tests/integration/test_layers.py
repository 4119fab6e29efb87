"""What sam built: each function gets along with its own layers, and with no more than those."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Stack

FUNCTIONS = [
    *("api", "ingest", "check", "generate", "save", "finish", "publish", "model_check"),
    *("upload", "hotmart_sync"),
]
# What Lambda's own runtime brings.
PROVIDED = ["boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six"]
# What a function imports late, so that its other calls need not.
LATE = {"api": ["lookbook.imaging"], "upload": ["lookbook.imaging"], "generate": ["openai"], "model_check": ["openai"]}
# A package that stands for each layer.
MARKS = {
    "LookbookLayer": "lookbook",
    "RuntimeLayer": "pynamodb",
    "ImagingLayer": "PIL",
    "IjsonLayer": "ijson",
    "OpenAiLayer": "openai",
}

PROBE = """
import importlib, json, sys
for name in ["app", *json.loads(sys.argv[1])]:
    importlib.import_module(name)
print(json.dumps([name for name in sys.modules if "." not in name]))
"""


def pascal(function: str) -> str:
    return "".join(word.capitalize() for word in function.split("_"))


def layers_of(function: str) -> list[str]:
    template = (ROOT / "template.yaml").read_text()
    block = re.search(rf"\n  {pascal(function)}Function:\n.*?Layers: \[(.*?)\]", template, re.DOTALL)
    assert block is not None
    return re.findall(r"!Ref (\w+)", block[1])


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with just the packages that Lambda brings."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in PROVIDED:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    return folder


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_functions_imports_are_met_by_its_own_layers_and_each_layer_is_used(
    stack: Stack, runtime: Path, function: str
) -> None:
    # Given the layers as built, the packages of Lambda's runtime, and nothing else
    layers = layers_of(function)
    built = [stack.cloud.folder / "build" / layer / "python" for layer in layers]
    path = [ROOT / "functions" / function, *built, runtime, Path(sysconfig.get_paths()["stdlib"])]

    # When the function is imported
    script = (
        f"import sys; sys.path[:] = {[str(each) for each in path]!r} + [p for p in sys.path if 'lib-dynload' in p]\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script + PROBE, json.dumps(LATE.get(function, []))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # Then it finds everything, and brings no layer for nothing
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    for layer, mark in MARKS.items():
        assert (mark in loaded) == (layer in layers), layer


@pytest.mark.parametrize("layer", MARKS)
def test_a_layer_ships_bytecode_that_is_valid_on_a_read_only_disk(stack: Stack, layer: str) -> None:
    built = stack.cloud.folder / "build" / layer / "python"
    sources = list(built.rglob("*.py"))
    assert sources
    for source in sources:
        compiled = Path(importlib.util.cache_from_source(str(source)))
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{compiled} is not unchecked-hash bytecode"


def test_layers_for_aws_are_built_from_the_lock_file_for_its_platform(tmp_path: Path) -> None:
    # Given the platform of production, whatever this machine is
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**os.environ, "LAYER_PYTHON": version, "LAYER_PLATFORM": "arm64"}

    # When the imaging layer is built
    command = [sys.executable, str(ROOT / "local/build_layer.py"), "Imaging", str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=120)

    # Then its compiled modules are for arm64 Linux, in the locked version
    modules = list((tmp_path / "python/PIL").glob("_imaging.*.so"))
    assert [("aarch64-linux" in module.name) for module in modules] == [True]
    locked = re.search(r'name = "pillow"\nversion = "([^"]+)"', (ROOT / "uv.lock").read_text())
    assert locked is not None
    assert (tmp_path / f"python/pillow-{locked[1]}.dist-info").is_dir()
