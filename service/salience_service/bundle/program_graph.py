"""What the text in a torch program may say: a graph of ATen operators with fixed shapes.

torch's loader evaluates symbolic shapes (`expr_str`, by sympy) and guards as Python,
writes the names of tensors into Python source that it executes, and looks operators up
by attribute from `torch` (its verifier stops some only later). So every field and every
text is held against a list; notes on where nodes came from are dropped.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from salience_service.errors import BundleRefused

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_DOTTED = re.compile(r"(?!(.*\.)?__)[A-Za-z0-9_.+-]{0,512}")
_WORDS = re.compile(r"[A-Za-z0-9_. -]{0,64}")
_OPERATOR = re.compile(r"torch\.ops\.aten\.(?P<name>[a-z_][A-Za-z0-9_]*)\.[A-Za-z0-9_]+")
_IMAGE_IN = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": '
    '"builtins.tuple", "context": "null", "children_spec": [{"type": null, "context": null, '
    '"children_spec": []}]}, {"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)
_TENSOR = '{"type": null, "context": null, "children_spec": []}'
_LOGITS_OUT = re.escape(f"[1, {_TENSOR}]")
_NAMED_OUT = (
    re.escape('[1, {"type": "builtins.dict", "context": "[')
    + r'\\"logits\\"(, \\"tap_[0-9]{1,6}\\"){0,4096}'
    + re.escape(']", "children_spec": [')
    + f"{re.escape(_TENSOR)}(, {re.escape(_TENSOR)}){{0,4096}}"
    + re.escape("]}]")
)

_TEXTS: Mapping[str, re.Pattern[str]] = {
    "target": _OPERATOR,
    "name": _IDENTIFIER,
    "forward_arg_names": _IDENTIFIER,
    "as_string": _WORDS,
    "as_strings": _WORDS,
    "type": re.compile("cpu"),
    "in_spec": re.compile(re.escape(_IMAGE_IN)),
    "out_spec": re.compile(f"{_LOGITS_OUT}|{_NAMED_OUT}"),
    "path_name": re.compile(r"(weight|tensor)_[0-9]{1,6}"),
}
"""What text may stand in a field; in any other, a dotted name."""

_FIELDS = frozenset(
    """
    graph_module graph signature module_call_graph opset_version schema_version major minor
    verifiers torch_version inputs outputs nodes tensor_values is_single_tensor_return
    input_specs output_specs user_input user_output parameter buffer tensor_constant arg
    parameter_name buffer_name tensor_constant_name persistent fqn in_spec out_spec
    forward_arg_names target name kind is_hop_single_tensor_return
    as_none as_tensor as_tensors as_int as_ints as_float as_floats as_string as_strings
    as_scalar_type as_memory_format as_layout as_device as_bool as_bools as_optional_tensors
    as_optional_tensor dtype sizes strides storage_offset layout device type index
    requires_grad config path_name is_param use_pickle tensor_meta
    """.split()  # noqa: SIM905 - seventy names on seventy lines are read by no one
)
"""Fields that are known; any other must be empty. No symbols, guards, objects, subgraphs."""

_NAMED = frozenset({"tensor_values", "opset_version", "config"})
"""Fields that hold values by name."""

_PRIVATE_OPERATORS = frozenset(
    """
    _adaptive_avg_pool2d _convolution _log_softmax _softmax _to_copy _unsafe_view
    _native_batch_norm_legit_no_training _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_math _assert_tensor_metadata _weight_norm
    """.split()  # noqa: SIM905
)
_FILE_OPERATORS = frozenset({"from_file"})

_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
"""Bytes of a number by torch's code for its type: plain integers, floats and bool."""


def checked_graph(tree: Any) -> Any:
    """The program's `model.json` without notes, once every field and text was found plain.

    Raises:
        BundleRefused: the first thing that is not.
    """
    clean = _checked(tree, "model.json")
    try:
        signature = clean["graph_module"]["signature"]
        takes = [spec for spec in signature["input_specs"] if "user_input" in spec]
        gives = [spec for spec in signature["output_specs"] if "user_output" in spec]
        others = len(signature["output_specs"]) - len(gives)
        declared = _declared_outputs(clean)
    except (KeyError, TypeError, AttributeError) as fault:
        raise _refusal("it has no graph with a signature") from fault
    if len(takes) != 1 or others or [len(gives)] != declared:
        raise _refusal("it must take one image and put out logits, and taps or nothing else")
    return clean


def _declared_outputs(tree: Any) -> list[int]:
    """How many tensors the program's modules say that they put out; it should be one module."""
    modules = [module["signature"] for module in tree["graph_module"]["module_call_graph"]]
    return [module["out_spec"].count(_TENSOR) for module in modules if module]


def checked_payloads(tree: Any, folder: str, sizes: Mapping[str, int]) -> Any:
    """A weights or constants config, once each tensor is raw and fits its entry.

    Args:
        tree: the parsed config.
        folder: where its entries lie.
        sizes: bytes of the archive's tensor entries by name.

    Raises:
        BundleRefused: a pickled, missing or overlong tensor.
    """
    clean = _checked(tree, "a weights config")
    try:
        for name, payload in clean["config"].items():
            if payload.get("use_pickle") is not False:
                raise _refusal(f"{name!r} is pickled")
            size = sizes.get(folder + payload["path_name"])
            if size is None or _claimed_bytes(payload["tensor_meta"]) > size:
                raise _refusal(f"the numbers of {name!r} are missing or too few")
    except (KeyError, TypeError, AttributeError) as fault:
        raise _refusal("its weights are not described as torch does") from fault
    return clean


def _claimed_bytes(meta: Mapping[str, Any]) -> int:
    lengths = [size["as_int"] for size in meta["sizes"]]
    if any(type(length) is not int or length < 0 for length in lengths):
        raise TypeError("lengths are counts")
    return int(math.prod(lengths)) * _ITEM_BYTES[meta["dtype"]]


def _checked(value: Any, field: str) -> Any:
    """`value` of `field`, without unknown empty fields and notes."""
    if isinstance(value, dict):
        return _checked_fields(value, field)
    if isinstance(value, list):
        return [_checked(item, field) for item in value]
    if isinstance(value, str):
        _check_text(value, field)
    return value


def _checked_fields(fields: Mapping[str, Any], field: str) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in fields.items():
        if field in _NAMED:
            _check_text(key, "")
            clean[key] = _checked(value, "")
        elif key == "metadata":
            clean[key] = {}
        elif key in _FIELDS:
            clean[key] = _checked(value, key)
        elif value not in (None, [], {}, "", False):
            raise _refusal(f"it has the field {key[:40]!r}, beyond a plain graph of fixed shapes")
        else:
            clean[key] = value
    return clean


def _check_text(text: str, field: str) -> None:
    found = _TEXTS.get(field, _DOTTED).fullmatch(text)
    if not found:
        raise _refusal(f"{text[:60]!r} cannot stand in the field {field or 'name'!r}")
    if field == "target":
        name = found["name"]
        private = name.startswith("_") and name not in _PRIVATE_OPERATORS
        if private or name in _FILE_OPERATORS:
            raise _refusal(f"the operator {name!r} is not on the list")


def _refusal(found: str) -> BundleRefused:
    return BundleRefused(f"the torch program is refused before it is loaded: {found}")
