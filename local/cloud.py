"""The local cloud: starts the engine and the stand-ins, deploys the template with the real SAM CLI, makes a user.

    python -m local.cloud up [Parameter=value …]     start, or deploy again if it is up
    python -m local.cloud down
    python -m local.cloud validate                   sam validate --lint

Everything it makes is in .local/ (or the folder that LOOKBOOK_LOCAL names, so that tests and the demo have clouds of
their own); .local/stack.json tells others where to find it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from local import catalogue
from local.seed import seed_model_photos

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
REGION = "us-east-1"
USER = "you@example.com"
ENGINE_PYTHON = ROOT / ".local/engine/bin/python"
SAM_PYTHON = ROOT / ".local/sam/bin/python"
# The providers' stand-ins, and the template's output that names the secret with their key.
PROVIDER_KEYS = {"gpu": "GpuEndpointKey", "fashn": "FashnKey", "openai_images": "OpenAiKey"}
# What the template wants to hear; the engine runs functions on the Python that runs it.
LOCAL_RUNTIME = "python3.13"
START_SECONDS = 60
STOP_SECONDS = 15


class CloudError(Exception):
    """The local cloud could not be started; the text says what to do."""


class Cloud:
    """One local cloud, living in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(os.environ.get("LOOKBOOK_LOCAL", ROOT / ".local"))
        self.stack_file = self.folder / "stack.json"
        self.processes_file = self.folder / "processes.json"
        self._started: list[subprocess.Popen[bytes]] = []

    # ------------------------------------------------------------------ up and down

    def up(
        self, parameters: dict[str, str] | None = None, standins: dict[str, list[str]] | None = None
    ) -> dict[str, Any]:
        """Start what is not running, deploy, and return what stack.json then holds.

        `parameters` override the template's; `standins` add arguments to a stand-in's command (`gpu`, `fashn`, …).
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.stack()
        if known is None or not self.alive():
            self.down()
            started = time.monotonic()
            known = self.start(standins or {})
            say(f"engine and stand-ins are up ({time.monotonic() - started:.1f} s)")
        started = time.monotonic()
        known["outputs"] = self.deploy(known, parameters or {})
        known["api_url"] = f"{known['endpoint_url']}/_aws/execute-api/{known['outputs']['ApiId']}"
        say(f"built and deployed template.yaml ({time.monotonic() - started:.1f} s)")
        self.write(self.stack_file, known)
        self.make_user(known)
        secrets_manager = self.aws(known, "secretsmanager")
        for service, secret in PROVIDER_KEYS.items():
            secrets_manager.put_secret_value(
                SecretId=known["outputs"][secret], SecretString=known["provider_keys"][service]
            )
        return known

    def down(self) -> bool:
        """Stop everything and forget it; return whether anything was running."""
        groups: list[int] = list(self.read(self.processes_file) or [])
        running = [group for group in groups if _alive(group)]
        for group in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(_alive(group) for group in running) and time.monotonic() < deadline:
            time.sleep(0.05)
        for group in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in self._started:
            process.wait()
        self._started.clear()
        self.stack_file.unlink(missing_ok=True)
        self.processes_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        return bool(running)

    def stack(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.read(self.stack_file)
        return found

    def alive(self) -> bool:
        groups = self.read(self.processes_file)
        return bool(groups) and all(_alive(group) for group in groups)

    # ------------------------------------------------------------------ the parts

    def start(self, standins: dict[str, list[str]]) -> dict[str, Any]:
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        groups: list[int] = []
        keys = {service: secrets.token_hex(24) for service in PROVIDER_KEYS}  # a key must not start with a dash
        urls: dict[str, str] = {}
        commands = {
            "gpu": ["--workers", "4", "--latency", "0.5", "--key", keys["gpu"]],
            "fashn": ["--latency", "0.5", "--key", keys["fashn"]],
            "openai_images": ["--latency", "0.5", "--key", keys["openai_images"]],
            "pictures": [],
            "shop": [],
        }
        for name, arguments in commands.items():
            more = standins.get(name, [])
            command = [sys.executable, "-m", f"local.standins.{name}", "--port", "0", *arguments, *more]
            log = self.folder / f"{name}.log"
            groups.append(self.spawn(command, log, {}))
            self.write(self.processes_file, groups)
            urls[name] = _announced(log)
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        environment = {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "AUTH": "true",
            "TMPDIR": str(scratch),
            "LOG_LEVEL": "WARNING",
            **CREDENTIALS,
        }
        groups.append(
            self.spawn([str(ENGINE_PYTHON), str(ROOT / "local/engine.py")], self.folder / "engine.log", environment)
        )
        self.write(self.processes_file, groups)
        self.wait_for(f"{endpoint}/_ministack/health")
        return {
            "endpoint_url": endpoint,
            "region": REGION,
            "user": USER,
            "password": f"Lb1{secrets.token_urlsafe(15)}",
            **{f"{name}_url": url for name, url in urls.items()},
            "provider_keys": keys,
        }

    def deploy(self, known: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
        """Run `sam build` and `sam deploy`; return the stack's outputs."""
        machine = "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        values = {
            "Runtime": LOCAL_RUNTIME,
            "Architecture": machine,
            "GpuEndpointUrl": known["gpu_url"],
            "FashnBaseUrl": f"{known['fashn_url']}/v1",
            "OpenAiBaseUrl": f"{known['openai_images_url']}/v1",
            "ShopifyAdminUrl": f"{known['shop_url']}/{{shop}}",
            "AllowPrivateUrls": "true",
            "DeferAfterSeconds": "60",
            **parameters,
        }
        overrides = [f"{name}={value}" for name, value in values.items()]
        environment = {
            "AWS_ENDPOINT_URL": known["endpoint_url"],
            "AWS_DEFAULT_REGION": REGION,
            "LAYER_PYTHON": version,
            "LAYER_PLATFORM": "host",
            "PATH": os.pathsep.join(
                [str(ROOT / ".local/tools/bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            **CREDENTIALS,
        }
        build = self.folder / "build"
        self.sam(["build", "--build-dir", str(build), "--parameter-overrides", *overrides], environment)
        self.sam(
            ["deploy", "--template-file", str(build / "template.yaml"), "--parameter-overrides", *overrides],
            environment,
        )
        stacks = self.aws(known, "cloudformation").describe_stacks(StackName="lookbook")["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

    def sam(self, arguments: list[str], environment: dict[str, str]) -> None:
        command = [
            str(SAM_PYTHON),
            "-m",
            "samcli",
            *arguments,
            "--config-file",
            str(ROOT / "samconfig.toml"),
            "--config-env",
            "local",
        ]
        log = self.folder / f"sam-{arguments[0]}.log"
        with log.open("w") as file:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, "SAM_CLI_TELEMETRY": "0"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=600,
                check=False,
            )
        if done.returncode != 0:
            raise CloudError(f"sam {arguments[0]} failed:\n{log.read_text()[-3000:]}")

    def make_user(self, known: dict[str, Any]) -> None:
        """Make the editor that stack.json names, once."""
        cognito = self.aws(known, "cognito-idp")
        pool = known["outputs"]["UserPool"]
        with contextlib.suppress(cognito.exceptions.UsernameExistsException):
            cognito.admin_create_user(UserPoolId=pool, Username=known["user"], MessageAction="SUPPRESS")
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=known["user"], Password=known["password"], Permanent=True
        )
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=known["user"], GroupName="editors")

    def token(self, known: dict[str, Any], user: str = USER, password: str = "") -> str:
        """Sign in, by default as the editor of stack.json, and return the ID token."""
        answer = self.aws(known, "cognito-idp").initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=known["outputs"]["UserPoolClient"],
            AuthParameters={"USERNAME": user, "PASSWORD": password or known["password"]},
        )
        return str(answer["AuthenticationResult"]["IdToken"])

    def aws(self, known: dict[str, Any], service: str) -> Any:
        """Return a boto3 client for the local cloud, as its owner."""
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=known["endpoint_url"],
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}) if service == "s3" else None,
        )

    # ------------------------------------------------------------------ processes and files

    def spawn(self, command: list[str], log: Path, environment: dict[str, str]) -> int:
        """Start a process in a group of its own, so that it and its children end together."""
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**_clean_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process.pid

    def wait_for(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=2).ok:
                    return
            time.sleep(0.05)
        raise CloudError(f"The engine did not start:\n{(self.folder / 'engine.log').read_text()[-3000:]}")

    @staticmethod
    def write(path: Path, value: Any) -> None:
        """Write JSON that only its owner may read: it holds a password."""
        temporary = path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(value, file, indent=2)
        temporary.replace(path)

    @staticmethod
    def read(path: Path) -> Any:
        return json.loads(path.read_text()) if path.exists() else None


# The engine takes any; they protect nothing, as it listens on this machine only.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def _clean_environment() -> dict[str, str]:
    """The machine's environment without its AWS settings: nothing here may reach a real account."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _alive(group: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _announced(log: Path) -> str:
    """Return the address that a stand-in prints first."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("listening on "):
                return line.removeprefix("listening on ").strip()
        time.sleep(0.05)
    raise CloudError(f"A stand-in did not start:\n{log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    cloud = Cloud()
    match arguments:
        case ["up", *parameters]:
            names = re.findall(r"^  (\w+):\n    Type: (?:String|Number)$", TEMPLATE.read_text(), re.MULTILINE)
            for each in parameters:
                if each.partition("=")[0] not in names or "=" not in each:
                    print(f"{each} is no parameter. Write Name=value; there are {', '.join(names)}.", file=sys.stderr)
                    return 1
            try:
                known = cloud.up(dict(each.split("=", 1) for each in parameters))
                seed_model_photos(known["api_url"], cloud.token(known))
            except CloudError as error:
                print(error, file=sys.stderr)
                cloud.down()
                return 1
            sample = cloud.folder / "sample.json"
            sample.write_text(json.dumps(catalogue.cj_scrape(known["pictures_url"], range(12)), indent=1))
            print(f"The local cloud is up: {known['api_url']}")
            print(f"A scrape to try: .venv/bin/lookbook run {os.path.relpath(sample)}")
            print("make down stops the cloud and forgets what it holds.")
        case ["down"]:
            print("Stopped." if cloud.down() else "The local cloud is not running.")
        case ["validate"]:
            cloud.folder.mkdir(parents=True, exist_ok=True)
            try:
                cloud.sam(["validate", "--template", "template.yaml"], {"AWS_DEFAULT_REGION": REGION, **CREDENTIALS})
            except CloudError as error:
                print(error, file=sys.stderr)
                return 1
            print("template.yaml is valid.")
        case _:
            print(__doc__, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
