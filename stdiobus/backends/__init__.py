"""Backends move bytes between a client and the kernel.

``base.py`` is the whole contract, ``selection.py`` chooses, and each other file is one
way to run the kernel.  Nothing here knows what a message means.
"""
