"""Everybody who is told about messages and workers: callbacks and subscriptions.

Exists before the bus runs and after it ended.  An exception in a callback is logged and
stops nobody.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

from ..messages import WorkerEvent
from .subscriptions import Notification, NotificationSubscription

_log = logging.getLogger("stdiobus")

LineCallback = Callable[[str], Any]
WorkerCallback = Callable[[WorkerEvent], Any]


class Listeners:
    """The callbacks and subscriptions of one bus; used on its loop's thread.

    Attributes:
        on_message: Told every line, as text.
        on_notification: Told every notification, as text.
        on_worker_event: Told every change in the life of a worker.
        subscriptions: Offered every notification, decoded.
    """

    def __init__(self) -> None:
        self.on_message: list[LineCallback] = []
        self.on_notification: list[LineCallback] = []
        self.on_worker_event: list[WorkerCallback] = []
        self.subscriptions: list[NotificationSubscription] = []

    def message(self, line: bytes) -> None:
        """Tells of one incoming line of any kind."""
        _call(self.on_message, line.decode(errors="replace"))

    def notification(self, message: Notification, pool: str | None, line: bytes) -> None:
        """Tells of a notification; ``pool`` is ``None`` for one of the bus itself."""
        if self.on_notification:
            _call(self.on_notification, line.decode(errors="replace"))
        for subscription in tuple(self.subscriptions):
            subscription.offer(message, pool)
            if subscription.closed:
                self.remove(subscription)

    def worker_event(self, event: WorkerEvent) -> None:
        """Tells of a change in the life of a worker."""
        _call(self.on_worker_event, event)

    def remove(self, subscription: NotificationSubscription) -> None:
        """Closes and forgets a subscription.  Idempotent."""
        subscription.close()
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)

    def close(self) -> None:
        """Closes every subscription."""
        for subscription in tuple(self.subscriptions):
            self.remove(subscription)


def _call(callbacks: list[Callable[[Any], Any]], argument: Any) -> None:
    for callback in tuple(callbacks):
        try:
            callback(argument)
        except Exception:
            _log.exception("a callback of the bus raised")
