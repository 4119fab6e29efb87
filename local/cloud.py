"""The local cloud: starts the engine and the stand-ins, deploys the template with the real SAM CLI, makes a user.

    python -m local.cloud up [Parameter=value …]     start, or deploy again if it is up
    python -m local.cloud down                       stop; the next start goes on with what it held
    python -m local.cloud forget                     stop, and throw away what it held
    python -m local.cloud validate                   sam validate --lint

Everything it makes is in .local/ (or the folder that LOOKBOOK_LOCAL names, so that tests and the demo have clouds of
their own): stack.json tells others where to find it, state/ has what it holds while it is stopped, and processes/ a
file with the id of each process.
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
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
START_AFRESH = "To throw away what the local cloud held and start afresh: make forget, then make up."
STANDINS = ("gpu", "fashn", "openai_images", "pictures", "shop", "hotmart")
START_SECONDS = 60
SAM_SECONDS = 600
STOP_SECONDS = 60  # the engine saves meanwhile
# A process notes its id before it becomes what it is, so none runs that nobody knows of.
NOTE_AND_BECOME = 'echo $$ >"$0" && exec "$@"'


class CloudError(Exception):
    """The local cloud could not be started; the text says what to do."""


class Cloud:
    """One local cloud, living in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(os.environ.get("LOOKBOOK_LOCAL", ROOT / ".local"))
        self.stack_file = self.folder / "stack.json"
        self.processes = self.folder / "processes"
        self.state = self.folder / "state"
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    # ------------------------------------------------------------------ up and down

    def up(
        self,
        parameters: dict[str, str] | None = None,
        standins: dict[str, list[str]] | None = None,
        *,
        keep: bool = False,
    ) -> dict[str, Any]:
        """Start what is not running, deploy, and return what stack.json then holds.

        `parameters` override the template's; `standins` add arguments to a stand-in's command (`gpu`, `fashn`, …).
        With `keep`, the cloud goes on with what it held when it was stopped, and will again after the next stop.
        """
        known = self.stack()
        if known is None:
            self.forget()  # at most, an `up` got here that did not come to its end
        if known is None or not self.alive():
            self.down()
            started = time.monotonic()
            known = self.start(known or {}, standins or {}, keep=keep)
            say(f"engine and stand-ins are up ({time.monotonic() - started:.1f} s)")
        self.stop(["sam"], seconds=0)  # of an `up` that was killed
        started = time.monotonic()
        known["outputs"] = self.deploy(known, parameters or {})
        known["api_url"] = _api_url(known)
        say(f"built and deployed template.yaml ({time.monotonic() - started:.1f} s)")
        self.write(self.stack_file, known)
        self.make_user(known)
        secrets_manager = self.aws(known, "secretsmanager")
        for service, secret in PROVIDER_KEYS.items():
            secrets_manager.put_secret_value(
                SecretId=known["outputs"][secret], SecretString=known["provider_keys"][service]
            )
        secrets_manager.put_secret_value(
            SecretId=known["outputs"]["HotmartCredentials"], SecretString=json.dumps(known["hotmart_credentials"])
        )
        return known

    def down(self) -> bool:
        """Stop everything; return whether anything was running. What was started with `keep` is kept."""
        running = self.stop(["sam"], seconds=0)
        could_save = _runs(self.processes / "engine")
        running |= self.stop(["engine"], seconds=STOP_SECONDS)  # while what its functions call still answers
        if could_save and (self.state / "running").exists():
            say(f"What the local cloud held could not be saved; see {self.folder / 'engine.log'}.")
        running |= self.stop(STANDINS, seconds=STOP_SECONDS)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        return running

    def forget(self) -> bool:
        """Stop everything and throw away what it held; return whether anything was running."""
        running = self.stop(["engine"], seconds=0)
        running |= self.down()
        self.stack_file.unlink(missing_ok=True)
        shutil.rmtree(self.state, ignore_errors=True)
        return running

    def stack(self) -> dict[str, Any] | None:
        """Return what stack.json says, whether the cloud is running or not. Raises CloudError if it is damaged."""
        try:
            found: dict[str, Any] | None = json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CloudError(f"{self.stack_file} is damaged. {START_AFRESH}") from error
        return found

    def alive(self) -> bool:
        """Return whether all processes are running."""
        return all(_runs(self.processes / name) for name in (*STANDINS, "engine"))

    def stop(self, names: Iterable[str], seconds: float) -> bool:
        """End these processes, those that take longer than `seconds` with force; return whether any was running."""
        found = {name: group for name in names if (group := _group(self.processes / name))}
        for group in found.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(group, signal.SIGTERM if seconds else signal.SIGKILL)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(_runs(self.processes / name) for name in found):
            time.sleep(0.05)
        for name, group in found.items():
            if seconds and _runs(self.processes / name):
                say(f"{name} did not stop in {seconds:.0f} s and was killed.")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for name in names:
            if name in self._started:
                self._started.pop(name).wait()
            (self.processes / name).unlink(missing_ok=True)
        return bool(found)

    # ------------------------------------------------------------------ the parts

    def start(self, before: dict[str, Any], standins: dict[str, list[str]], *, keep: bool) -> dict[str, Any]:
        """Start the processes, if they can be had with the addresses, keys and password of `before`."""
        if not keep or not self.say_what_is_kept():
            shutil.rmtree(self.state, ignore_errors=True)
            self.stack_file.unlink(missing_ok=True)  # it tells of a stack that is not there any more
            before = {name: value for name, value in before.items() if name not in {"outputs", "api_url", "seeded"}}
        known_keys = before.get("provider_keys", {})
        keys = {each: known_keys.get(each) or secrets.token_hex(24) for each in PROVIDER_KEYS}  # no dash in front
        hotmart = before.get("hotmart_credentials") or {
            name: secrets.token_hex(16) for name in ("client_id", "client_secret", "basic")
        }
        ports = _ports({"engine": before.get("endpoint_url"), **{each: before.get(f"{each}_url") for each in STANDINS}})
        known = {
            "region": REGION,
            "user": USER,
            "password": f"Lb1{secrets.token_urlsafe(15)}",
            **before,
            "endpoint_url": _local_url(ports["engine"]),
            **{f"{name}_url": _local_url(ports[name]) for name in STANDINS},
            "provider_keys": keys,
            "hotmart_credentials": hotmart,
        }
        if "outputs" in known:  # before anything runs there, so that it is never at an address that is not known
            self.write(self.stack_file, {**known, "api_url": _api_url(known)})
        arguments = {
            "gpu": ["--workers", "4", "--latency", "0.5", "--key", keys["gpu"]],
            "fashn": ["--latency", "0.5", "--key", keys["fashn"]],
            "openai_images": ["--latency", "0.5", "--key", keys["openai_images"]],
            "hotmart": [f"--{name.replace('_', '-')}={value}" for name, value in hotmart.items()],
        }
        if keep:
            arguments["shop"] = ["--folder", str(self.state / "shops")]
        for name in STANDINS:
            more = ["--port", str(ports[name]), *arguments.get(name, []), *standins.get(name, [])]
            self.spawn(name, [sys.executable, "-m", f"local.standins.{name}", *more], {})
        self.start_engine(ports["engine"], keep=keep, AUTH="true")
        for name in STANDINS:
            self.wait_for(name, partial(self.announced, name))
        return known

    def say_what_is_kept(self) -> bool:
        """Return whether there is something to go on with; say what is lost, if the engine could not save it."""
        saved, is_whole = self.state / "saved", (self.state / "saving").exists()
        lost = (self.state / "running").exists() and not is_whole
        if lost and saved.exists():
            when = datetime.fromtimestamp(saved.stat().st_mtime).astimezone()
            say(f"The local cloud was killed before it could save; it goes on with what it held at {when:%F %T}.")
        elif lost:
            say("The local cloud was killed before it could save what it held; it starts afresh.")
        return is_whole or saved.exists()

    def start_engine(self, port: int, *, keep: bool = False, **settings: str) -> None:
        """Start the engine; with `keep`, it loads what it has saved, and will save again."""
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)  # passwords and keys are in it
        environment = {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(scratch),
            "STATE_DIR": str(self.state),
            "PERSIST_STATE": str(int(keep)),
            "S3_DATA_DIR": str(self.state / "s3"),
            "S3_PERSIST": str(int(keep)),
            "LOG_LEVEL": "WARNING",
            **CREDENTIALS,
            **settings,
        }
        self.spawn("engine", [str(ENGINE_PYTHON), str(ROOT / "local/engine.py")], environment)

        def healthy() -> bool:
            try:
                return requests.get(f"{_local_url(port)}/_ministack/health", timeout=2).ok
            except requests.RequestException:
                return False

        self.wait_for("engine", healthy)

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
            "HotmartAuthUrl": known["hotmart_url"],
            "HotmartApiUrl": known["hotmart_url"],
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
        config = ["--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"]
        log = self.folder / f"sam-{arguments[0]}.log"
        command = [str(SAM_PYTHON), "-m", "samcli", *arguments, *config]
        process = self.spawn("sam", command, {**environment, "SAM_CLI_TELEMETRY": "0"}, log)
        try:
            failed = process.wait(timeout=SAM_SECONDS)
        except subprocess.TimeoutExpired:
            failed = 1
        finally:
            self.stop(["sam"], seconds=0)
        if failed:
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

    def spawn(
        self, name: str, command: list[str], environment: dict[str, str], log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a Python in a group of its own, so that it and its children end together; `processes/` has its id."""
        python, *arguments = command
        self.processes.mkdir(parents=True, exist_ok=True)
        note = self.processes / name
        note.unlink(missing_ok=True)
        become = ["/bin/sh", "-c", NOTE_AND_BECOME, str(note), python, "-X", _mark(note), *arguments]
        with (log or self.folder / f"{name}.log").open("w") as file:
            process = subprocess.Popen(
                become,
                cwd=ROOT,
                env={**_clean_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started[name] = process
        while not _noted(note) and process.poll() is None:
            time.sleep(0.001)
        return process

    def announced(self, name: str) -> bool:
        """Return whether a stand-in has said where it listens, which is the first that it says."""
        return (self.folder / f"{name}.log").read_text().startswith("listening on ")

    def wait_for(self, name: str, ready: Callable[[], object]) -> None:
        """Wait until a process is ready. Raises CloudError with what it has written, if it ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while (has_ended := self._started[name].poll() is not None) or not ready():
            if time.monotonic() > deadline or has_ended:
                written = (self.folder / f"{name}.log").read_text()[-3000:]
                raise CloudError(f"The local cloud's {name} did not start:\n{written}\n{START_AFRESH}")
            time.sleep(0.05)

    @staticmethod
    def write(path: Path, value: Any) -> None:
        """Write JSON that only its owner may read: it holds a password."""
        temporary = path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(value, file, indent=2)
        temporary.replace(path)


# The engine takes any; they protect nothing, as it listens on this machine only.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}


def _clean_environment() -> dict[str, str]:
    """The machine's environment without its AWS settings: nothing here may reach a real account."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _mark(note: Path) -> str:
    """What stands in the command of the process that a note is about (Python takes any such option)."""
    return f"lookbook={note.resolve()}"


def _noted(note: Path) -> int | None:
    try:
        return int(note.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _command(process: int) -> str:
    """Return a process's command; of one that has ended, nothing."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return shown.stdout


def _runs(note: Path) -> bool:
    """Return whether the process that a note is about is running; its id may have become another's."""
    process = _noted(note)
    return process is not None and _mark(note) in _command(process)


def _group(note: Path) -> int | None:
    """Return the process group that a note is about, if there is anything left of it: it or its children."""
    group = _noted(note)
    if group is None or (_command(group) and not _runs(note)):
        return None
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return None
    return group


def _ports(urls: dict[str, str | None]) -> dict[str, int]:
    """Return a free port for each name, that of its address if it is free."""
    found: dict[str, int] = {}
    with contextlib.ExitStack() as held:  # until all are found, so that none is found twice
        for name, url in sorted(urls.items(), key=lambda each: each[1] is None):
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", urlsplit(url or "").port or 0))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            found[name] = probe.getsockname()[1]
    return found


def _local_url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _api_url(known: dict[str, Any]) -> str:
    return f"{known['endpoint_url']}/_aws/execute-api/{known['outputs']['ApiId']}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def prepare(cloud: Cloud, known: dict[str, Any]) -> None:
    """Add the first model photos to a new cloud; in one that goes on, end the runs that its stop has cut off."""
    token = cloud.token(known)
    if "seeded" not in known:
        seed_model_photos(known["api_url"], token)
        cloud.write(cloud.stack_file, {**known, "seeded": True})
        return
    headers = {"authorization": f"Bearer {token}"}
    for run in requests.get(f"{known['api_url']}/api/runs?limit=100", headers=headers, timeout=40).json()["runs"]:
        if run["status"] == "running":  # whoever looks at a run whose execution is over ends it
            requests.get(f"{known['api_url']}/api/runs/{run['run_id']}", headers=headers, timeout=40)


def main(arguments: list[str]) -> int:
    cloud = Cloud()
    match arguments:
        case ["up", *parameters]:
            names = re.findall(r"^  (\w+):\n    Type: (?:String|Number)$", TEMPLATE.read_text(), re.MULTILINE)
            for each in parameters:
                if each.partition("=")[0] not in names or "=" not in each:
                    print(f"{each} is no parameter. Write Name=value; there are {', '.join(names)}.", file=sys.stderr)
                    return 1
            was_up = cloud.alive()
            try:
                known = cloud.up(dict(each.split("=", 1) for each in parameters), keep=True)
                prepare(cloud, known)
            except CloudError as error:
                print(error, file=sys.stderr)
                if not was_up:
                    cloud.down()
                return 1
            sample = cloud.folder / "sample.json"
            sample.write_text(json.dumps(catalogue.cj_scrape(known["pictures_url"], range(12)), indent=1))
            print(f"The local cloud is up: {known['api_url']}")
            print(f"A scrape to try: .venv/bin/lookbook run {os.path.relpath(sample)}")
            print("make down stops the cloud and keeps what it holds; make forget throws that away.")
        case ["down"]:
            print("Stopped; make up goes on from here." if cloud.down() else "The local cloud is not running.")
        case ["forget"]:
            cloud.forget()
            print("Stopped, and what it held is gone.")
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
