"""A stand-in for torchvision, which pytorch-grad-cam imports and Score-CAM does not use.

torchvision is built for one release of torch; ours is chosen by the project. The names
that grad-cam 1.5.7 asks for at import are there, and fail when they are called.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any, NoReturn

_NAMES = {
    "torchvision": (),
    "torchvision.transforms": ("Compose", "Normalize", "ToTensor"),
    "torchvision.transforms.functional": ("resize",),
    "torchvision.ops": ("box_iou",),
}


def install() -> None:
    """Puts the stand-in in place, unless torchvision is installed."""
    if importlib.util.find_spec("torchvision"):
        return
    for name, members in _NAMES.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, _absent)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def _absent(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("torchvision is not installed")
