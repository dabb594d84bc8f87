"""What the header ``stdio_bus.h`` declares, in ctypes: structs, callbacks, prototypes.

One table holds every function that is called, with its C prototype beside it; a library
whose ABI number or struct sizes differ is refused before any other call.  Finding the
library is the business of ``library.py``.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_int32,
    c_size_t,
    c_uint16,
    c_uint64,
    c_void_p,
)
from typing import Any

from ..errors import UnavailableError

ABI = 1

OK = 0
ERR_ENOTFOUND = -5
ERR_EINVAL = -6
ERR_CONFIG = -10
ERR_WORKER = -11
ERR_STATE = -15

STATE_STOPPED = 4

LOG_DEBUG = 0
LOG_INFO = 1
LOG_WARNING = 2
LOG_ERROR = 3

HOST_CLIENT = 0

LINE_FORMAT = "<IiiI"
"""`stdio_bus_line_t`: length, worker, client, reserved (every target is little-endian)."""
LINE_SIZE = 16

# typedef void (*stdio_bus_on_message_fn)(stdio_bus_t *, const char *msg, size_t len, void *);
OnMessage = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p)
# typedef void (*stdio_bus_on_error_fn)(stdio_bus_t *, int code, const char *message, void *);
# typedef void (*stdio_bus_on_log_fn)(stdio_bus_t *, int level, const char *message, void *);
OnText = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)
# typedef void (*stdio_bus_on_worker_fn)(stdio_bus_t *, int worker_id, const char *event, void *);
# typedef void (*stdio_bus_on_client_connect_fn)(stdio_bus_t *, int, const char *peer, void *);
# typedef void (*stdio_bus_on_client_disconnect_fn)(stdio_bus_t *, int, const char *reason, void *);
OnPeer = OnText
# typedef void (*stdio_bus_on_batch_fn)(stdio_bus_t *, const char *data, size_t len,
#                                       const stdio_bus_line_t *lines, size_t count, void *);
OnBatch = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)


class Listener(Structure):
    """The unnamed struct ``listener`` of `Options`."""

    _fields_ = (
        ("mode", c_int),
        ("tcp_host", c_char_p),
        ("tcp_port", c_uint16),
        ("unix_path", c_char_p),
    )


class Options(Structure):
    """``stdio_bus_options_t``."""

    _fields_ = (
        ("config_path", c_char_p),
        ("config_json", c_char_p),
        ("listener", Listener),
        ("on_message", OnMessage),
        ("on_error", OnText),
        ("on_log", OnText),
        ("on_worker", OnPeer),
        ("on_client_connect", OnPeer),
        ("on_client_disconnect", OnPeer),
        ("user_data", c_void_p),
        ("log_level", c_int),
    )


class Stats(Structure):
    """``stdio_bus_stats_t``."""

    _fields_ = (
        ("messages_in", c_uint64),
        ("messages_out", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
        ("worker_restarts", c_uint64),
        ("routing_errors", c_uint64),
        ("client_connects", c_uint64),
        ("client_disconnects", c_uint64),
    )


class Worker(Structure):
    """``stdio_bus_worker_info_t``."""

    _fields_ = (
        ("pool", c_char_p),
        ("id", c_int32),
        ("pid", c_int32),
        ("state", c_int32),
        ("in_flight", c_int32),
        ("restarts", c_uint64),
        ("uptime_ms", c_uint64),
        ("bytes_in", c_uint64),
        ("bytes_out", c_uint64),
    )


class Event(Structure):
    """``stdio_bus_worker_event_t``."""

    _fields_ = (
        ("kind", c_char_p),
        ("pool", c_char_p),
        ("reason", c_char_p),
        ("stderr_tail", c_char_p),
        ("worker_id", c_int32),
        ("pid", c_int32),
        ("exit_code", c_int32),
        ("signal", c_int32),
    )


# typedef void (*stdio_bus_on_worker_event_fn)(stdio_bus_t *, const stdio_bus_worker_event_t *, void *);
OnWorkerEvent = CFUNCTYPE(None, c_void_p, POINTER(Event), c_void_p)

# name -> (result, arguments); the bus pointer is a void pointer everywhere.
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    # const char *stdio_bus_version(void);
    "stdio_bus_version": (c_char_p, ()),
    # int stdio_bus_abi(void);
    "stdio_bus_abi": (c_int, ()),
    # size_t stdio_bus_sizeof(int what);
    "stdio_bus_sizeof": (c_size_t, (c_int,)),
    # stdio_bus_t *stdio_bus_create(const stdio_bus_options_t *options);
    "stdio_bus_create": (c_void_p, (POINTER(Options),)),
    # int stdio_bus_start(stdio_bus_t *bus);
    "stdio_bus_start": (c_int, (c_void_p,)),
    # int stdio_bus_step(stdio_bus_t *bus, int timeout_ms);
    "stdio_bus_step": (c_int, (c_void_p, c_int)),
    # int stdio_bus_stop(stdio_bus_t *bus, int timeout_sec);
    "stdio_bus_stop": (c_int, (c_void_p, c_int)),
    # void stdio_bus_destroy(stdio_bus_t *bus);
    "stdio_bus_destroy": (None, (c_void_p,)),
    # stdio_bus_state_t stdio_bus_get_state(const stdio_bus_t *bus);
    "stdio_bus_get_state": (c_int, (c_void_p,)),
    # int stdio_bus_worker_count(const stdio_bus_t *bus);
    "stdio_bus_worker_count": (c_int, (c_void_p,)),
    # int stdio_bus_client_count(const stdio_bus_t *bus);
    "stdio_bus_client_count": (c_int, (c_void_p,)),
    # int stdio_bus_get_poll_fd(const stdio_bus_t *bus);
    "stdio_bus_get_poll_fd": (c_int, (c_void_p,)),
    # void stdio_bus_get_stats(const stdio_bus_t *bus, stdio_bus_stats_t *out);
    "stdio_bus_get_stats": (None, (c_void_p, POINTER(Stats))),
    # int stdio_bus_set_on_batch(stdio_bus_t *bus, stdio_bus_on_batch_fn fn);
    "stdio_bus_set_on_batch": (c_int, (c_void_p, OnBatch)),
    # int stdio_bus_feed(stdio_bus_t *bus, int client_id, const char *data, size_t len);
    "stdio_bus_feed": (c_int, (c_void_p, c_int, c_void_p, c_size_t)),
    # const char *stdio_bus_worker_state_name(int state);
    "stdio_bus_worker_state_name": (c_char_p, (c_int,)),
    # int stdio_bus_get_workers(const stdio_bus_t *bus, stdio_bus_worker_info_t *out, int capacity);
    "stdio_bus_get_workers": (c_int, (c_void_p, POINTER(Worker), c_int)),
    # int stdio_bus_set_on_worker_event(stdio_bus_t *bus, stdio_bus_on_worker_event_fn fn);
    "stdio_bus_set_on_worker_event": (c_int, (c_void_p, OnWorkerEvent)),
}

# The numbers of STDIO_BUS_SIZEOF_*.
_SIZES = ((0, "options", ctypes.sizeof(Options)), (1, "stats", ctypes.sizeof(Stats)),
          (2, "line", LINE_SIZE), (3, "worker_info", ctypes.sizeof(Worker)),
          (4, "worker_event", ctypes.sizeof(Event)))  # fmt: skip


def declare(library: Any, path: str) -> None:
    """Gives every function of ``library`` its types, after checking that they fit.

    Args:
        library: A ``ctypes.CDLL``.
        path: Where it comes from, for errors.

    Raises:
        UnavailableError: A function is missing, or the ABI number or a struct differs.
    """
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(library, name, None)
        if function is None:
            raise _misfit(path, f"it has no function {name}")
        function.restype = result
        function.argtypes = arguments
    abi = library.stdio_bus_abi()
    if abi != ABI:
        raise _misfit(path, f"its ABI is {abi}, this package needs {ABI}")
    for number, name, size in _SIZES:
        found = library.stdio_bus_sizeof(number)
        if found != size:
            raise _misfit(path, f"its struct {name} has {found} bytes, this package expects {size}")


def _misfit(path: str, reason: str) -> UnavailableError:
    return UnavailableError(f"{path} does not fit: {reason}; install library and package together")
