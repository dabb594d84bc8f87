"""Client libraries over a bus, each in a module of its own that needs the extra of that name.

``mcp.py``, ``fastmcp.py`` and ``acp.py``; nothing is imported here, so that none of those
libraries is needed for the others.
"""
