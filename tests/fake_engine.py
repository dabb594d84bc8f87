"""A stand-in for docker: `version`, `image inspect`, `run` and `rm`; its containers are plain processes.

The folder FAKE_ENGINE holds `images` (a name per line), a file for each container that runs, with
its process id, and `log`, with a line of JSON for each command. What else it does is asked for by
FAKE_ENGINE_MODE: "down" (answers nothing), "broken" (run fails), "unpullable" (run cannot fetch
the image), "empty" (the image has no program), "silent" (the program says nothing) or "hung" (no
command ends).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_ENGINE"])
MODE = os.environ.get("FAKE_ENGINE_MODE", "")
PROGRAM = Path(__file__).parents[1] / "kernel" / "dist" / "stdio_bus"


def fail(code: int, message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--interactive", "--rm"):
        parser.add_argument(flag, action="store_true", required=True)
    for option in ("--name", "--pull", "--log-driver", "--entrypoint"):
        parser.add_argument(option, required=True)
    parser.add_argument("--label", action="append")  # what a test may give as an extra argument
    options, rest = parser.parse_known_args(arguments)
    image, command = rest[0], rest[1:]
    if MODE == "unpullable":
        fail(125, f"Unable to find image '{image}' locally")
    if MODE == "broken":
        fail(125, "unknown flag: --nonsense")
    if MODE == "empty":
        fail(127, f'exec: "{options.entrypoint}": executable file not found in $PATH')
    program = ["sleep", "1000"] if MODE == "silent" else [str(PROGRAM), *command]
    entry = HOME / options.name
    # As in a container: this process's end does not end it, the end of its stdin does.
    begin = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(entry)]
    container = subprocess.Popen([*begin, *program], start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: container.send_signal(number))
    code = container.wait()
    entry.unlink(missing_ok=True)
    sys.exit(code if code >= 0 else 128 - code)


def remove(name: str) -> None:
    entry = HOME / name
    if not entry.exists():
        fail(1, f"no such container: {name}")
    os.kill(int(entry.read_text()), signal.SIGKILL)
    entry.unlink(missing_ok=True)


def main() -> None:
    command, arguments = sys.argv[1], sys.argv[2:]
    with open(HOME / "log", "a", encoding="utf-8") as log:
        log.write(json.dumps(sys.argv[1:]) + "\n")
    if MODE == "down":
        fail(1, "Cannot connect to the daemon. Is it running?")
    if MODE == "hung":
        time.sleep(1000)
    if command == "run":
        run(arguments)
    elif command == "rm":
        assert arguments[0] == "--force"
        remove(arguments[1])
    elif command == "image":
        assert arguments[:3] == ["inspect", "--format", "{{.Id}}"]
        if arguments[3] not in (HOME / "images").read_text().split():
            fail(1, f"No such image: {arguments[3]}")
    else:
        assert command == "version"


main()
