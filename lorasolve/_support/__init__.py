"""What every room uses and none is about: arguments, texts, files, folders of components, threads and signals.

Nothing in here knows of losses, factors or theorems; ``linear_map.py`` and what else does stands beside this folder.

- ``validate``: an argument is what it should be, or an error names it.
- ``text``: components as texts and back, numbers as they are printed.
- ``digest``: what data, settings and code are told apart by; ``contents`` says what objects hold, ``bytecode`` what
  code reads and writes, ``origin`` whose it is.
- ``files``: written whole or not at all.
- ``registry``: components found by their folder.
- ``threads``: how many, and of which libraries.
- ``interruptions``: Ctrl-C and SIGTERM where they do no harm.
- ``progress``: what goes to stderr.
"""
