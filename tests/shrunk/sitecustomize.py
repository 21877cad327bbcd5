"""Python reads this first where the folder is on PYTHONPATH: a tiny Chatterbox can then be loaded.

chatterbox-tts writes its sizes into its code, so every process that loads the tiny checkpoint must first give
its classes other sizes (tiny_chatterbox.shrink); those that never ask for the family pay nothing.
"""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Shrinking(MetaPathFinder):
    """Looks at what is imported, finds nothing, and acts once, before the family's own modules are there."""

    def find_spec(self, name, path, target=None):
        if name == "sotaque.backends.chatterbox":
            sys.meta_path.remove(self)
            sys.path.append(str(Path(__file__).parent.parent))
            import tiny_chatterbox

            tiny_chatterbox.shrink()


sys.meta_path.insert(0, Shrinking())
