"""Build one Lambda layer into a folder: the lock file's packages for the target platform, with bytecode.

`sam build` calls this through layers/Makefile. The target is AWS's: Python 3.13 on arm64 Linux, unless LAYER_PYTHON
(such as `3.12`) and LAYER_PLATFORM (`arm64`, `x86_64`, or `host` for this machine's own) say otherwise.

A layer's disk is read-only and its files' times are not kept, so the bytecode is of the unchecked-hash kind: valid
wherever it is unpacked. Without it, every cold start would compile every import again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The Lambda runtime brings boto3 and all it needs; its urllib3 may be older than fetch.py wants, so ours goes along.
IN_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six")

# What the layer Runtime brings, which every function has; so the other layers need not.
IN_THE_RUNTIME_LAYER = ("pydantic", "typing-extensions", "typing-inspection")

# What no function of ours can come to: formats that imaging.py refuses, text in pictures, type checkers.
NOT_SHIPPED = (
    "PIL/_avif.*", "PIL/_imagingft.*", "PIL/_imagingtk.*", "pillow.libs/libavif-*", "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*", "pydantic/mypy.py", "urllib3/contrib/emscripten",
    "aws_lambda_powertools/utilities/kafka",
)  # fmt: skip


def build(layer: str, artifacts: Path) -> None:
    """Fill `artifacts`/python with the layer called `layer` (`Lookbook`, or a dependency group: `Runtime`, …)."""
    target = artifacts / "python"
    python = os.environ.get("LAYER_PYTHON", "3.13")
    if layer == "Lookbook":
        shutil.copytree(
            ROOT / "layers/lookbook/lookbook", target / "lookbook", ignore=shutil.ignore_patterns("__pycache__")
        )
    else:
        install(layer.lower(), target, python)
    compile_bytecode(target, python)


def install(group: str, target: Path, python: str) -> None:
    """Install the locked packages of a dependency group, wheels for the target platform only."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        elsewhere = IN_THE_RUNTIME if group == "runtime" else (*IN_THE_RUNTIME, *IN_THE_RUNTIME_LAYER)
        prune = [word for name in elsewhere for word in ("--prune", name)]
        uv("export", "--frozen", "--only-group", group, "--no-emit-project", *prune, "--output-file", str(wanted))
        uv(
            "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target),
            "--python-version", python, *platform(), "--requirement", str(wanted),
        )  # fmt: skip
    for pattern in ("bin", ".lock", *NOT_SHIPPED):
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def platform() -> list[str]:
    """uv's name for the target platform."""
    wanted = os.environ.get("LAYER_PLATFORM", "arm64")
    if wanted == "host":
        return []
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[wanted]
    return ["--python-platform", f"{machine}-manylinux_2_28"]


def compile_bytecode(target: Path, python: str) -> None:
    """Compile with the Python that will read it: bytecode differs from one minor version to the next."""
    flags = ["-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-s", str(target), "-p", "/opt/python"]
    uv("run", "--no-project", "--python", python, "python", "-m", "compileall", *flags, str(target))


def uv(*arguments: str) -> None:
    program = shutil.which("uv") or str(ROOT / ".local/tools/bin/uv")
    subprocess.run([program, "--quiet", *arguments], check=True, cwd=ROOT, stdout=sys.stderr, timeout=600)


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]))
