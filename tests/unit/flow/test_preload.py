"""What is imported before the processes of a flow are forked."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
import executors.bootstrap
from executors.flow.preload import preload
preload(["executors.preprocess.executor.ImagePreprocessor", "no_such_package.Stage", "BaseExecutor"])
print("cv2" in sys.modules, "executors.preprocess.executor" in sys.modules, "faiss" in sys.modules, gc.get_freeze_count() > 0)
"""


def test_modules_of_the_given_classes_are_imported_and_kept_out_of_collections() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "True", "False", "True"]
