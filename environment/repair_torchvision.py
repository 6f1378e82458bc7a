"""Make torchvision importable beside a CPU build of torch, inside this environment only.

The package index serves a torchvision wheel linked to CUDA. Beside a CPU build of torch its
extension does not load, and the import then dies because the operators `nms` and `qnms` are not
declared. Declaring their schemas is enough for the import; the operators themselves stay absent,
and nothing in this project calls them.

Run at set-up with the environment's own python. It does nothing where torchvision imports; else it
writes one module and a .pth file that starts it into site-packages. The module leaves everything
alone where torchvision's own extension loads.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

MODULE = '''\
"""Declare torchvision's nms and qnms where its compiled extension cannot be loaded."""

import importlib.abc
import importlib.util
import sys
from pathlib import Path

_libraries = []


def declare():
    import torch

    folder = Path(importlib.util.find_spec("torchvision").submodule_search_locations[0])
    for extension in (*folder.glob("_C*.so"), *folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(extension))
            return
        except OSError:
            continue
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Runs `declare` once, when torchvision is about to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare()
        return None


sys.meta_path.insert(0, BeforeTorchvision())
'''


def imports() -> bool:
    """Whether a fresh interpreter of this environment can import torchvision."""
    result = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True)
    return result.returncode == 0


def main() -> int:
    if imports():
        print("torchvision: imports, nothing to repair")
        return 0
    site = Path(sysconfig.get_paths()["purelib"])
    (site / "torchvision_on_cpu.py").write_text(MODULE)
    (site / "torchvision_on_cpu.pth").write_text("import torchvision_on_cpu\n")
    if not imports():
        print("torchvision: still does not import after the repair", file=sys.stderr)
        return 1
    print("torchvision: operators declared for this CPU build of torch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
