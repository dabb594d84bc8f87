"""Clients join a protocol session and a backend on an event loop.

``aio.py`` is the asyncio client, ``sync.py`` the same for synchronous code, ``builder.py``
another way to write either.  ``dispatch.py`` is the joint itself; ``arguments.py``,
``streaming.py``, ``subscriptions.py``, ``listeners.py``, ``deadlines.py`` and ``startup.py``
are its parts.
"""
