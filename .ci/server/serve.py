"""Starts the servers, says where they are, and stops them when a process has ended.

`serve.py HOME PID`: HOME is where they are installed. The servers belong to a second process, which
watches PID; the first one ends as soon as all of them answer.
"""

import base64
import hashlib
import hmac
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# The same in tlc-core/tests/it/servers.rs.
BUCKET = "tlc"
S3_KEY, S3_SECRET = "tlc", "tlc-secret"
# Not a secret: the account that every Azure emulator has.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

ANSWER_SECS_MAX = 60
READY = "ready"


def main(home: Path, pid: int) -> int:
    """Starts the second process, and hands on what it says."""
    watcher = subprocess.Popen(
        [sys.executable, __file__, str(home), str(pid), "watch"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    lines = []
    for line in watcher.stdout:
        if line.strip() == READY:
            print("".join(lines), end="", flush=True)
            return 0
        lines.append(line)
    return watcher.wait() or 1


def watch(home: Path, pid: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tlc-servers."))
    servers = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for name, value in start(home, folder, servers):
            print(f"export {name}={value}" if "NEXTEST_ENV" not in os.environ else f"{name}={value}")
        print(READY, flush=True)
        # Whoever waits for the end of our output must not wait for us.
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        while lives(pid):
            time.sleep(0.2)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def start(home: Path, folder: Path, servers: list) -> list:
    """Starts all, then waits for each. Gives the variables."""
    (folder / "rclone" / BUCKET).mkdir(parents=True)
    moto, azurite, rclone = free_ports(3)
    here = "127.0.0.1"
    commands = {
        "moto": [home / "python/bin/python", Path(__file__).resolve().with_name("s3.py"), "-H", here, "-p", str(moto)],
        "azurite": [home / "node_modules/.bin/azurite-blob", "--silent", "--inMemoryPersistence", "--blobHost", here]
        + ["--blobPort", str(azurite), "--skipApiVersionCheck", "--disableTelemetry"],
        "rclone": [home / "python/bin/rclone", "serve", "s3", "--config", folder / "rclone.conf"]
        + ["--auth-key", f"{S3_KEY},{S3_SECRET}", "--addr", f"{here}:{rclone}", folder / "rclone"],
    }
    for name, command in commands.items():
        with open(folder / f"{name}.log", "w") as log:
            servers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder))
    started = dict(zip(commands, servers))
    urls = {name: f"http://{here}:{port}" for name, port in zip(commands, [moto, azurite, rclone])}
    for name, url in urls.items():
        wait_for(name, url, started[name], folder)
    urlopen(Request(f"{urls['moto']}/{BUCKET}", method="PUT"), timeout=10).close()
    make_container(urls["azurite"])
    return [
        ("TLC_TEST_S3", urls["moto"]),
        ("TLC_TEST_AZURE", f"{urls['azurite']}/{AZURE_ACCOUNT}"),
        ("TLC_TEST_S3_UNCONDITIONAL", urls["rclone"]),
    ]


def free_ports(count: int) -> list:
    """Ports that nobody has now. All are held until the last is found, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(name: str, url: str, server: subprocess.Popen, folder: Path) -> None:
    end = time.monotonic() + ANSWER_SECS_MAX
    while time.monotonic() < end and server.poll() is None:
        try:
            urlopen(url, timeout=5).close()
            return
        except HTTPError:
            return  # A refusal is an answer.
        except (URLError, OSError):
            time.sleep(0.1)
    log = (folder / f"{name}.log").read_text(errors="replace")
    sys.exit(f"{name} does not answer at {url}; it said:\n{log}")


def make_container(url: str) -> None:
    """Azure has no request without a signature that would make a container."""
    date = formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0"}
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    where = f"{url}/{AZURE_ACCOUNT}/{BUCKET}?restype=container"
    urlopen(Request(where, method="PUT", headers=headers), timeout=10).close()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    if sys.argv[3:] == ["watch"]:
        watch(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
