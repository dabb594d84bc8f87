"""``mcpServers`` files, the configuration of desktop hosts, as pools.

Here: finding the servers in a document, its variables, ``envFile`` and JSON with comments.
What a pool may contain is in ``config.py``, and users come in through
`BusConfig.from_mcp_config`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any, Callable

from .config import PoolConfig, check_pool
from .errors import InvalidArgumentError
from .protocol.codec import refuse
from .rules import load_json

InputCallback = Callable[[str, Mapping[str, Any]], "str | None"]
"""Answers ``${input:ID}``: gets the id and its definition in ``inputs``, ``{}`` without one."""

_log = logging.getLogger("stdiobus")

_ROOTS = ("mcpServers", "servers", "context_servers")
_URLS = ("url", "serverUrl", "httpUrl")
_REMOTE = ("http", "sse", "streamable-http", "streamableHttp", "streamable_http", "ws", "websocket")
_POOL_FIELDS = ("command", "args", "env", "cwd", "startup_timeout_sec")
_OWN_FIELDS = ("envFile", "type", "transport", "disabled", "enabled", "timeout")
_LONGEST_SEC = 3600


def read_pools(
    source: str | os.PathLike[str] | Mapping[str, Any],
    protocol: str,
    instances: int,
    workspace_folder: str | os.PathLike[str] | None,
    inputs: InputCallback | None,
) -> list[PoolConfig]:
    """The pools of a file or document; arguments and errors of `BusConfig.from_mcp_config`."""
    if isinstance(source, Mapping):
        return _pools(source, protocol, instances, workspace_folder, inputs)
    path = os.fspath(source)
    document = read_document(path)
    try:
        return _pools(document, protocol, instances, workspace_folder, inputs)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error.message}", error.details) from error


def read_document(path: str) -> Any:
    """The JSON of a file that may have comments and trailing commas; an error names the file."""
    return load_json(_without_comments(_read(path, path)), path)


def _pools(
    document: Any,
    protocol: str,
    instances: int,
    workspace_folder: str | os.PathLike[str] | None,
    inputs: InputCallback | None,
) -> list[PoolConfig]:
    root, servers = find_servers(document)
    folder = os.path.abspath(workspace_folder if workspace_folder is not None else os.curdir)
    variables = _Variables(folder, document.get("inputs"), inputs)
    pools = []
    for name, entry in servers.items():
        where = f"{root}.{name}" if root else str(name)
        if not isinstance(entry, Mapping):
            refuse(where, "must be an object")
        if _runs_here(where, entry):
            pools.append(_pool(where, name, entry, protocol, instances, variables))
    if not pools:
        refuse(root or "servers", "no server in it that can be started here")
    return pools


def find_servers(document: Any) -> tuple[str, Mapping[str, Any]]:
    """The root's name, empty for a bare map of servers, and the servers."""
    if not isinstance(document, Mapping):
        refuse("config", "must be an object")
    for root in _ROOTS:
        if root in document:
            if not isinstance(document[root], Mapping):
                refuse(root, "must be an object")
            return root, document[root]
    if any(isinstance(entry, Mapping) and {"command", *_URLS} & entry.keys() for entry in document.values()):
        return "", document
    refuse("config", f"no servers: must have one of {', '.join(_ROOTS)}, or be a map of servers")


def _runs_here(where: str, entry: Mapping[str, Any]) -> bool:
    """Whether a server is enabled and a program; another kind is logged."""
    for field in ("disabled", "enabled"):
        if not isinstance(entry.get(field, False), bool):
            refuse(f"{where}.{field}", "must be true or false")
    if entry.get("disabled", False) or not entry.get("enabled", True):
        return False
    field = "transport" if entry.get("type") is None else "type"
    kind = entry.get(field)
    if kind in _REMOTE or any(url in entry for url in _URLS):
        _log.warning("%s is skipped: it is reached by a URL, and pools are made of local programs", where)
        return False
    if entry.get("source") == "extension" and "command" not in entry:
        _log.warning("%s is skipped: it names an extension of an editor, and no command", where)
        return False
    if kind not in ("stdio", None):
        refuse(f"{where}.{field}", "must be stdio")
    return True


def _pool(
    where: str, name: str, entry: Mapping[str, Any], protocol: str, instances: int, variables: _Variables
) -> PoolConfig:
    if isinstance(entry.get("command"), Mapping):  # Zed's older spelling
        inner = dict(entry["command"])
        entry = {**entry, "command": inner.pop("path", None), **inner}
    fields: dict[str, Any] = {"id": name, "protocol": protocol, "instances": instances}
    for key in _POOL_FIELDS:
        if entry.get(key) is not None:
            fields[key] = variables.expand(f"{where}.{key}", entry[key])
    check_pool(where, fields)
    if "cwd" in fields:
        fields["cwd"] = os.path.join(variables.folder, fields["cwd"])
    if entry.get("envFile") is not None:
        path = variables.expand(f"{where}.envFile", entry["envFile"])
        if not isinstance(path, str):
            refuse(f"{where}.envFile", "must be a string")
        text = _read(os.path.join(variables.folder, path), f"{where}.envFile")
        fields["env"] = {**_dotenv(text, f"{where}.envFile"), **fields.get("env", {})}
        check_pool(where, fields)
    known = (*_POOL_FIELDS, *_OWN_FIELDS)
    return PoolConfig(
        **fields,
        timeout_ms=_timeout_ms(f"{where}.timeout", entry.get("timeout")),
        metadata={key: value for key, value in entry.items() if key not in known},
    )


def _timeout_ms(where: str, value: Any) -> float | None:
    """Hosts disagree on the unit: a number that can be seconds, up to an hour, is seconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        refuse(where, "must be a number above 0, of seconds up to 3600 or else of milliseconds")
    return value * 1000 if value <= _LONGEST_SEC else value


def _read(path: str, where: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        refuse(where, f"{path!r} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(where, f"{path!r} is not UTF-8 text: {error.reason} at byte {error.start}")


# ---- Variables


class _Variables:
    """What stands for ``${...}``.

    Args:
        folder: ``${workspaceFolder}``.
        definitions: The document's ``inputs``.
        callback: Answers them, once each.
    """

    def __init__(self, folder: str, definitions: Any, callback: InputCallback | None) -> None:
        self.folder = folder
        listed = definitions if isinstance(definitions, (list, tuple)) else ()
        self._definitions = {each.get("id"): each for each in listed if isinstance(each, Mapping)}
        self._callback = callback
        self._answers: dict[str, str | None] = {}

    def expand(self, where: str, value: Any) -> Any:
        """A JSON value with the variables in all its strings replaced."""
        if isinstance(value, str):
            return self._text(where, value)
        if isinstance(value, (list, tuple)):
            return [self.expand(f"{where}[{index}]", item) for index, item in enumerate(value)]
        if isinstance(value, Mapping):
            return {key: self.expand(f"{where}.{key}", item) for key, item in value.items()}
        return value

    def _text(self, where: str, text: str) -> str:
        """What a variable stands for is not expanded again; a default may have variables."""
        head, opened, rest = text.partition("${")
        if not opened:
            return text
        end = _closing(rest)
        if end is None:
            return text
        return head + self._variable(where, rest[:end]) + self._text(where, rest[end + 1 :])

    def _variable(self, where: str, body: str) -> str:
        name, has_default, default = body.partition(":-")
        value = self._value(where, name)
        # As in a shell, an empty variable has the default too.
        if has_default and not value:
            return self._text(where, default)
        if value is None:
            remedy = "answer it through inputs" if name.startswith("input:") else "set it"
            refuse(where, f"variable ${{{name}}} is not set; {remedy}, or write a default after :-")
        return value

    def _value(self, where: str, name: str) -> str | None:
        if name == "workspaceFolder":
            return self.folder
        if name == "userHome":
            return os.path.expanduser("~")
        if name.startswith("input:"):
            return self._input(where, name[len("input:") :])
        variable = name[len("env:") :] if name.startswith("env:") else name
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            refuse(where, f"unknown variable ${{{name}}}")
        return os.environ.get(variable)

    def _input(self, where: str, name: str) -> str | None:
        if name not in self._answers:
            definition = self._definitions.get(name, {})
            answer = self._callback(name, definition) if self._callback is not None else None
            if answer is None:
                answer = definition.get("default")
            if not isinstance(answer, (str, type(None))):
                refuse(where, f"the answer to ${{input:{name}}} must be a string")
            self._answers[name] = answer
        return self._answers[name]


def _closing(text: str) -> int | None:
    """Where the brace closes that was opened before ``text``; ``None`` if it does not."""
    depth = 0
    for mark in re.finditer(r"\$\{|\}", text):
        if mark.group() == "${":
            depth += 1
        elif depth == 0:
            return mark.start()
        else:
            depth -= 1
    return None


# ---- Texts

_ASSIGNMENT = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.-]*)[ \t]*=
        (?:
            [ \t]*'(?P<single>[^']*)'(?P<after1>[ \t]*(?:\#.*)?)
          | [ \t]*"(?P<double>(?:[^"\\]|\\.)*)"(?P<after2>[ \t]*(?:\#.*)?)
          | (?P<bare>(?![ \t]*['"]).*)
        )$""",
    re.VERBOSE | re.MULTILINE,
)
_NOTHING = re.compile(r"[ \t]*(?:#.*)?$", re.MULTILINE)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _dotenv(text: str, where: str) -> dict[str, str]:
    r"""The variables of a dotenv text: ``KEY=VALUE``, quotes, comments, ``export``.

    A value in quotes may have many lines; in double quotes ``\n``, ``\r``, ``\t`` stand for
    control characters and a backslash before anything else for that.  ``#`` after white
    space begins a comment.  Variables in values are not replaced.
    """
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ASSIGNMENT.match(text, position)
        if match is not None:
            found[match["name"]] = _dotenv_value(match)
        else:
            match = _NOTHING.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            refuse(where, f"line {line}: expected KEY=VALUE")
        position = match.end() + 1
    return found


def _dotenv_value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(
            r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match["double"], flags=re.DOTALL
        )
    return re.sub(r"[ \t]#.*", "", match["bare"]).strip()


_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_COMMA = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?<=[^\[{,\s])\s*,(?=\s*[}\]])')


def _without_comments(text: str) -> str:
    """JSON with comments and trailing commas as plain JSON of the same lines and columns."""

    def blank(match: re.Match[str]) -> str:
        token = match.group()
        return token if token.startswith('"') else re.sub(r"[^\n]", " ", token)

    return _COMMA.sub(blank, _COMMENT.sub(blank, text))
