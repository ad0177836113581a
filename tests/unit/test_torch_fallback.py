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

from salience_service.errors import BundleRefused, ComputeFailed, NotPossible
from salience_service.gradients.torch_fallback import TorchGradient, torch_is_installed
from salience_service.runtime.session import Execution
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


def to_image(side: TorchGradient, image: np.ndarray, cotangent: np.ndarray):
    """The logits, and the gradient to the image."""
    logits, gradients = side.gradient(image, cotangent, ("images",), Execution())
    return logits, gradients["images"]


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
    logits, gradient = side.masked_gradient(*given, Execution())
    assert (logits.dtype, gradient.dtype) == (np.float32, np.float32)
    assert logits @ given[3] == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    assert_close(gradient, expected)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (-1.0, 1.0), (0.3, -0.2)])
def test_the_gradient_of_any_mask_equals_float64(side, normalise, scale, shift):
    given = task(11)
    asked = normalise, scale, shift
    value, expected = masked_gradient(small_network().double(), *doubles(*given), *asked)
    logits, gradient = side.masked_gradient(*given, Execution(), *asked)
    assert logits @ given[3] == pytest.approx(float(value), rel=1e-5, abs=1e-6)
    assert_close(gradient, expected)


def test_the_inverse_of_a_flat_map_shows_the_whole_image(side):
    difference, fill, image_map, cotangent = task(3)
    flat = np.full_like(image_map, 0.7)
    logits, gradient = side.masked_gradient(
        difference, fill, flat, cotangent, Execution(), True, -1, 1
    )
    np.testing.assert_array_equal(gradient, np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(logits, to_image(side, fill + difference, cotangent)[0])


def test_a_flat_map_that_is_not_normalised_has_a_gradient(side):
    difference, fill, image_map, cotangent = task(3)
    flat = np.full_like(image_map, 0.7)
    asked = False, 1.0, 0.0
    _, expected = masked_gradient(
        small_network().double(), *doubles(difference, fill, flat, cotangent), *asked
    )
    _, gradient = side.masked_gradient(difference, fill, flat, cotangent, Execution(), *asked)
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
    logits, gradient = to_image(side, image, cotangent)
    np.testing.assert_allclose(logits, expected_logits.detach().numpy(), atol=1e-6)
    assert leaf.grad is not None
    assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("level", [0.0, 1.0, -3.0, 1e30])
def test_a_flat_map_has_the_logits_of_the_fill_and_a_gradient_of_zeros(side, level):
    difference, fill, image_map, cotangent = task(3)
    logits, gradient = side.masked_gradient(
        difference, fill, np.full_like(image_map, level), cotangent, Execution()
    )
    np.testing.assert_array_equal(gradient, np.zeros((3, 4), np.float32))
    np.testing.assert_array_equal(logits, to_image(side, fill, cotangent)[0])


def test_a_map_of_one_pixel_is_flat(side):
    difference, fill, _, cotangent = task(3)
    _, gradient = side.masked_gradient(
        difference, fill, np.ones((1, 1), np.float32), cotangent, Execution()
    )
    assert gradient.tolist() == [[0.0]]


def test_the_same_call_gives_the_same_bits_from_any_thread(side):
    given, answers = task(4), []

    def ask() -> None:
        answers.append(side.masked_gradient(*given, Execution()))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    to_image(side, numbers(9, 3, SIDE, SIDE), given[3])
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
    side.masked_gradient(*given, Execution())
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
    assert_close(to_image(TorchGradient(path, 1), image, cotangent)[1], leaf.grad)


class Tapped(nn.Module):
    """The small network with two of its layers put out, on the way to the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.network[:3](image)
        second = self.network[3:5](first)
        return {"logits": self.network[5:](second), "tap_0": first, "tap_1": second}


@pytest.fixture(scope="module")
def tapped(tmp_path_factory) -> TorchGradient:
    path = tmp_path_factory.mktemp("program") / "program.pt2"
    return TorchGradient(write_program(path, Tapped().eval(), torch.zeros(1, 3, 8, 8)), 1)


def test_the_gradients_of_taps_equal_float64(tapped):
    image, cotangent = numbers(1, 3, SIDE, SIDE), numbers(2, CLASSES)
    leaf = torch.from_numpy(image).double().requires_grad_()
    outputs = Tapped().eval().double()(leaf[None])
    ends = [outputs["tap_1"], leaf, outputs["tap_0"]]
    value = outputs["logits"][0] @ torch.from_numpy(cotangent).double()
    expected = torch.autograd.grad(value, ends)
    _, found = tapped.gradient(image, cotangent, ("tap_1", "images", "tap_0"), Execution())
    assert list(found) == ["tap_1", "images", "tap_0"]
    assert found["tap_1"].shape == (4, 3, 3)
    for gradient, exact in zip(found.values(), expected, strict=True):
        assert gradient.flags["C_CONTIGUOUS"]
        assert_close(gradient, exact.reshape(gradient.shape))


def test_a_program_with_taps_masks_as_one_without(tapped, side):
    given = task(6)
    for found, expected in zip(
        tapped.masked_gradient(*given, Execution()),
        side.masked_gradient(*given, Execution()),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_tap_that_an_older_program_does_not_know_is_refused_with_a_remedy(side):
    with pytest.raises(NotPossible, match=r"no gradient to 1 of the taps: .* with --tap MODULE"):
        side.gradient(
            numbers(1, 3, SIDE, SIDE), numbers(2, CLASSES), ("images", "tap_0"), Execution()
        )


def test_an_image_of_another_size_fails_without_a_stack(side):
    with pytest.raises(ComputeFailed, match="torch failed"):
        to_image(side, numbers(1, 5, SIDE, SIDE), numbers(2, CLASSES))


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
from salience_service.gradients.torch_fallback import TorchGradient, torch_is_installed
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
        "import sys; from salience_service.gradients.torch_fallback import torch_is_installed; "
        "torch_is_installed(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


LOOKED_FOR = """
import sys
from importlib.machinery import PathFinder
from salience_service.gradients.torch_fallback import torch_is_installed

class Counting(PathFinder):
    looks = 0
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.looks += name == "torch"
        return super().find_spec(name, path, target)

sys.meta_path[:] = [each for each in sys.meta_path if each is not PathFinder] + [Counting]
assert all(torch_is_installed() for _ in range(3))
assert Counting.looks == 1, Counting.looks
"""


def test_torch_is_looked_for_once():
    subprocess.run([sys.executable, "-c", LOOKED_FOR], check=True, timeout=60)


def test_programs_that_are_asked_for_at_once_all_load(tmp_path):
    paths = [tmp_path / f"{number}.pt2" for number in range(4)]
    for path in paths:
        write_program(path, small_network(), torch.zeros(1, 3, 8, 8))
    with ThreadPoolExecutor(len(paths)) as threads:
        sides = list(threads.map(lambda path: TorchGradient(path, 1), paths))
    image, cotangent = numbers(1, 3, SIDE, SIDE), numbers(2, CLASSES)
    assert len({to_image(side, image, cotangent)[1].tobytes() for side in sides}) == 1
