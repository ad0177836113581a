"""What the modules of a torch network put out, call by call, under the names of the calls.

A module called once goes by its own name; one called more often goes by NAME#0,
NAME#1 …, in the order of the calls, since a hook alone would keep only the last.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from salience_export.errors import ExportError

Calls = dict[str, list[object]]
"""Per module, what its calls put out, in their order."""


@contextmanager
def recorded_calls(network: nn.Module, names: Sequence[str]) -> Iterator[Calls]:
    """Records what the named modules put out while the context is open.

    Tensors are cloned as they leave the module: an in-place activation behind it would
    otherwise change what was recorded.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    outputs: Calls = {name: [] for name in names}

    def recorder(calls: list[object]) -> Callable[[nn.Module, Any, object], None]:
        return lambda _module, _inputs, output: calls.append(_clone(output))

    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(modules[name].register_forward_hook(recorder(outputs[name])))
        yield outputs


@contextmanager
def passing_copies_on(network: nn.Module, names: Sequence[str]) -> Iterator[Calls]:
    """Records what the named modules put out, and passes copies on in its place.

    What follows is so computed from what was recorded, which no in-place activation behind
    the module changes.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    outputs: Calls = {name: [] for name in names}

    def recorder(calls: list[object]) -> Callable[[nn.Module, Any, object], object]:
        def record(_module: nn.Module, _inputs: Any, output: object) -> object:
            calls.append(output)
            return _clone(output)

        return record

    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(modules[name].register_forward_hook(recorder(outputs[name])))
        yield outputs


def _clone(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def named_calls(outputs: Calls) -> dict[str, object]:
    """The recorded outputs under the names of their calls."""
    calls: dict[str, object] = {}
    for name, recorded in outputs.items():
        for number, output in enumerate(recorded):
            calls[name if len(recorded) == 1 else f"{name}#{number}"] = output
    return calls


@torch.no_grad()
def map_makers(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Every call of a submodule on `images` that makes a float tensor [N, C, h, w] or [N, T, C].

    Calls that hand on what they got, such as dropout's, make nothing.
    """
    modules = {name: part for name, part in network.named_modules(remove_duplicate=False) if name}
    given: list[list[object]] = []  # the inputs of the calls under way, as they were before
    maps: Calls = {name: [] for name in modules}

    def recorder(calls: list[object]) -> Callable[[nn.Module, Any, object], None]:
        return lambda _module, _inputs, output: calls.append(_new_map(given.pop(), output))

    def arriving(_module: nn.Module, inputs: Sequence[object]) -> None:
        given.append([*map(_clone, inputs)])

    with ExitStack() as hooks:
        for name, part in modules.items():
            hooks.enter_context(part.register_forward_pre_hook(arriving))
            hooks.enter_context(part.register_forward_hook(recorder(maps[name])))
        network(images)
    made = named_calls(maps).items()
    return {name: output for name, output in made if isinstance(output, Tensor)}


def _new_map(inputs: Sequence[object], output: object) -> Tensor | None:
    if not isinstance(output, Tensor) or not (_is_spatial(output) or _is_tokens(output)):
        return None
    handed_on = any(isinstance(given, Tensor) and torch.equal(given, output) for given in inputs)
    return None if handed_on else output.clone()


def _is_spatial(output: Tensor) -> bool:
    return output.ndim == 4 and output.is_floating_point() and output.shape[2] * output.shape[3] > 1


def _is_tokens(output: Tensor) -> bool:
    return output.ndim == 3 and output.is_floating_point() and output.shape[1] > 1


@torch.no_grad()
def check_calls(network: nn.Module, images: Tensor, wanted: Sequence[str]) -> None:
    """Refuses taps that are no call of a submodule that puts out maps or tokens.

    Raises:
        ExportError: an unknown module; one that is called several times, or never; an
            output that is not [N, C, h, w]; a tap named twice.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    for name in wanted:
        if module_of(name) not in modules or not name:
            raise ExportError(f"tap {name!r}: the network has no module of that name")
        if list(wanted).count(name) > 1:
            raise ExportError(f"tap {name!r} is named twice: name it once")
    with recorded_calls(network, sorted({module_of(name) for name in wanted})) as outputs:
        network(images)
    calls = named_calls(outputs)
    for name in wanted:
        _check_call(name, calls, len(outputs[module_of(name)]))


def _check_call(name: str, calls: Mapping[str, object], times: int) -> None:
    module = module_of(name)
    if times == 0:
        raise ExportError(f"tap {name!r}: the network never calls this module")
    if name not in calls and times > 1:
        choices = f"{module}#0 to {module}#{times - 1}"
        raise ExportError(
            f"tap {name!r}: the module is called {times} times; name the call: {choices}"
        )
    if name not in calls:
        raise ExportError(f"tap {name!r}: the module is called once; name it {module!r}")
    output = calls[name]
    if not isinstance(output, Tensor) or not (_is_spatial(output) or _is_tokens(output)):
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ExportError(
            f"tap {name!r} puts out {found}; a tap is a float tensor [N, C, h, w] with h·w > 1, "
            "or [N, T, C] with a token a patch of the image"
        )


def module_of(call: str) -> str:
    """The module's name in the name of a call."""
    return call.partition("#")[0]
