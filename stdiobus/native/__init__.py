"""The ctypes bindings of ``libstdio_bus``: public, and usable without the clients.

``library.py`` finds and loads the library, ``bindings.py`` declares it, ``bus.py`` wraps
one bus, ``loop.py`` steps it on an event loop.  Importing this package loads no library.
"""
