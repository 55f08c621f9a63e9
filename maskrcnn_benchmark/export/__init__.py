"""Models as files of other programs, each checked against PyTorch before it gets its name.

* ``metadata``: what a file says of its model; imports nothing but Python's own library.
"""
