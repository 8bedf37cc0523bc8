"""What we put on a machine: the watchdog, and the small programs that place, list, fetch and build there.

Standard library only, Python 3.8 or later, and no import from outside this folder: the folder is packed into one
archive that runs alone, ``python3 watchdog.pyz COMMAND …`` (see `main`). Inside it, modules import each other
relatively, so the same code is tested and type-checked here.
"""
