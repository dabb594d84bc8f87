"""The protocol without I/O: bytes in, events out.

No asyncio, no descriptors, no ctypes and no clock below this folder.  ``codec.py`` is
JSON, ``chunks.py`` says what a chunk is, ``failures.py`` turns error answers into
exceptions, ``session.py`` knows who asked what.
"""
