"""The torch side: gradients equal float64, whatever the layout, and nothing left behind."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from salience_service.errors import BundleRefused, ComputeFailed
from salience_service.torch_fallback import TorchGradient, torch_is_installed
from tests.oracle.masked_gradient import masked_gradient, masked_value
from tests.support.torch_programs import (
    CLASSES,
    SIDE,
    edited,
    packed,
    plain_entries,
    small_network,
    write_program,
)

# Of the gradient's norm. Measured over 300 seeds: 2e-7 in the median, 1.2e-6 where the
# gradient is a small difference of large sums; the seeds below stay under 5e-7.
RELATIVE = 1e-6


@pytest.fixture(scope="module")
def side(tmp_path_factory) -> TorchGradient:
    path = tmp_path_factory.mktemp("program") / "program.pt2"
    return TorchGradient(write_program(path, small_network(), torch.zeros(1, 3, 8, 8)), 1)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def task(seed: int, h: int = 3, w: int = 4) -> tuple[np.ndarray, ...]:
    """difference, fill, map and cotangent."""
    image = numbers(seed, 3, SIDE, SIDE)
    fill = numbers(seed + 1, 3, SIDE, SIDE)
    return image - fill, fill, numbers(seed + 2, h, w), numbers(seed + 3, CLASSES)


def doubles(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array).double() for array in arrays]


def assert_close(actual: np.ndarray, expected: torch.Tensor) -> None:
    norm = float(expected.norm())
    assert norm > 1e-4, "a gradient of nothing proves nothing"
    assert np.linalg.norm(actual - expected.numpy()) <= RELATIVE * norm


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("h", "w"), [(3, 4), (2, 3), (8, 8), (13, 5)])
def test_the_gradient_of_a_masked_row_equals_float64(side, seed, h, w):
    given = task(seed, h, w)
    network = small_network().double()
    value, expected = masked_gradient(network, *doubles(*given))
    logits, gradient = side.masked_gradient(*given)
    assert (logits.dtype, gradient.dtype) == (np.float32, np.float32)
    assert logits @ given[3] == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    assert_close(gradient, expected)


def test_the_oracle_itself_equals_central_differences():
    given = doubles(*task(7))
    network, step = small_network().double(), 1e-6
    _, gradient = masked_gradient(network, *given)
    difference, fill, image_map, cotangent = given
    for place in np.ndindex(*image_map.shape):
        ends = []
        for sign in (1, -1):
            moved = image_map.clone()
            moved[place] += sign * step
            ends.append(masked_value(network, difference, fill, moved, cotangent).item())
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float(gradient[place]), rel=1e-5, abs=1e-8)


def test_the_gradient_of_an_image_equals_float64(side):
    image, cotangent = numbers(1, 3, SIDE, SIDE), numbers(2, CLASSES)
    leaf = torch.from_numpy(image).double().requires_grad_()
    expected_logits = small_network().double()(leaf[None])[0]
    expected_logits.backward(torch.from_numpy(cotangent).double())
    logits, gradient = side.gradient(image, cotangent)
    np.testing.assert_allclose(logits, expected_logits.detach().numpy(), atol=1e-6)
    assert leaf.grad is not None
    assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("level", [0.0, 1.0, -3.0, 1e30])
def test_a_flat_map_has_the_logits_of_the_fill_and_a_gradient_of_zeros(side, level):
    difference, fill, image_map, cotangent = task(3)
    logits, gradient = side.masked_gradient(
        difference, fill, np.full_like(image_map, level), cotangent
    )
    np.testing.assert_array_equal(gradient, np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(logits, side.gradient(fill, cotangent)[0])


def test_a_map_of_one_pixel_is_flat(side):
    difference, fill, _, cotangent = task(3)
    _, gradient = side.masked_gradient(difference, fill, np.ones((1, 1), np.float32), cotangent)
    assert gradient.tolist() == [[0.0]]


def test_the_same_call_gives_the_same_bits_from_any_thread(side):
    given, answers = task(4), []

    def ask() -> None:
        answers.append(side.masked_gradient(*given))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    side.gradient(numbers(9, 3, SIDE, SIDE), given[3])
    ask()
    assert len(answers) == 5
    for logits, gradient in answers[1:]:
        np.testing.assert_array_equal(logits, answers[0][0])
        np.testing.assert_array_equal(gradient, answers[0][1])


def test_what_is_handed_in_is_left_as_it_was_and_may_be_read_only(side):
    given = task(5)
    kept = deepcopy(given)
    for array in given:
        array.setflags(write=False)
    side.masked_gradient(*given)
    for array, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(array, before)


class Viewed(nn.Module):
    """A network whose `view` forbids another memory order than the one it was exported in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4 * 36, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.convolution(image)).view(1, 4 * 36))


def test_a_network_that_needs_its_memory_order_is_served_in_it(tmp_path):
    network = Viewed().eval()
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        deepcopy(network).to(memory_format=torch.channels_last)(torch.ones(1, 1, 8, 8))
    path = write_program(tmp_path / "program.pt2", network, torch.zeros(1, 1, 8, 8))
    image, cotangent = numbers(1, 1, SIDE, SIDE), numbers(2, CLASSES)
    leaf = torch.from_numpy(image).double().requires_grad_()
    network.double()(leaf[None])[0].backward(torch.from_numpy(cotangent).double())
    assert leaf.grad is not None
    assert_close(TorchGradient(path, 1).gradient(image, cotangent)[1], leaf.grad)


def test_an_image_of_another_size_fails_without_a_stack(side):
    with pytest.raises(ComputeFailed, match="torch failed"):
        side.gradient(numbers(1, 5, SIDE, SIDE), numbers(2, CLASSES))


def test_a_program_with_a_pickle_is_refused(tmp_path):
    entries = plain_entries(small_network(), torch.zeros(1, 3, 8, 8))
    path = tmp_path / "program.pt2"
    path.write_bytes(packed({**entries, "data/sample_inputs/model.pt": b"\x80\x02N."}))
    with pytest.raises(BundleRefused, match="sample inputs"):
        TorchGradient(path, 1)


def test_a_plain_program_that_torch_cannot_load_is_refused_without_its_path(tmp_path):
    def unknown(tree: dict) -> None:
        node = tree["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.ops.aten.conv2d.nothing"

    entries = plain_entries(small_network(), torch.zeros(1, 3, 8, 8))
    path = tmp_path / "program.pt2"
    path.write_bytes(packed(edited(entries, "models/model.json", unknown)))
    with pytest.raises(BundleRefused, match="torch cannot load") as refused:
        TorchGradient(path, 1)
    assert str(tmp_path) not in str(refused.value)


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class NoTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torch":
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [each for each in sys.meta_path if each is not PathFinder] + [NoTorch]
from salience_service.errors import NotPossible
from salience_service.torch_fallback import TorchGradient, torch_is_installed
assert not torch_is_installed()
try:
    TorchGradient(Path(sys.argv[1]), 1)
except NotPossible as said:
    print(said)
"""


def test_without_torch_the_error_says_what_to_install(tmp_path):
    path = write_program(tmp_path / "p.pt2", small_network(), torch.zeros(1, 3, 8, 8))
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "pip install 'salience[torch]'" in run.stdout
    assert torch_is_installed()


def test_asking_whether_torch_is_there_does_not_load_it():
    code = (
        "import sys; from salience_service.torch_fallback import torch_is_installed; "
        "torch_is_installed(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_programs_that_are_asked_for_at_once_all_load(tmp_path):
    paths = [tmp_path / f"{number}.pt2" for number in range(4)]
    for path in paths:
        write_program(path, small_network(), torch.zeros(1, 3, 8, 8))
    with ThreadPoolExecutor(len(paths)) as threads:
        sides = list(threads.map(lambda path: TorchGradient(path, 1), paths))
    image, cotangent = numbers(1, 3, SIDE, SIDE), numbers(2, CLASSES)
    assert len({side.gradient(image, cotangent)[1].tobytes() for side in sides}) == 1
