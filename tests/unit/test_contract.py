"""A model's contract made in Python: what is wrong is refused as in a TOML file."""

from dataclasses import replace

import pytest

from salience_export.contract import ModelContract
from salience_export.errors import ExportError
from salience_service.bundle.manifest import ColourOrder, InputContract, OutputKind
from tests.support.contracts import contract, image_contract

STRETCHED, CROPPED = image_contract(), contract()


def refused(
    said: str,
    given: InputContract = STRETCHED,
    kind: OutputKind = OutputKind.SOFTMAX,
    **fields: object,
) -> None:
    with pytest.raises(ExportError) as caught:
        ModelContract(given, kind, **fields)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (replace(STRETCHED, channels=2), "input.channels: 2 is neither"),
        (replace(STRETCHED, height=0), "input.height: 0 is not within 1 to 8192"),
        (replace(STRETCHED, colour_order=ColourOrder.GREY), "input.colour_order: GREY does not"),
        (replace(STRETCHED, white=0.0), "input.white: 0.0 is not"),
        (replace(STRETCHED, mean=(0.5,)), "input.mean: 1 numbers for 3 channels; give one a"),
        (replace(STRETCHED, std=(1.0, 0.0, 1.0)), "input.std: must be above 0"),
        (replace(STRETCHED, std=(1.0, float("nan"), 1.0)), "input.std: must be finite"),
        (
            replace(STRETCHED, resize=replace(STRETCHED.resize, short_side=64)),
            "input.resize.short_side: only the rule short_side has one",
        ),
        (replace(CROPPED, height=300), "input.resize.short_side: 256 is below 300"),
    ],
)
def test_an_input_out_of_its_limits_is_refused(given: InputContract, said: str) -> None:
    refused(said, given)


def test_labels_that_are_empty_or_repeated_are_refused() -> None:
    refused("output.labels: label 1 is empty", labels=("cat", " "))
    refused("output.labels: 'cat' occurs twice", labels=("cat", "dog", "cat"))


def test_thresholds_are_probabilities_of_sigmoids() -> None:
    refused("output.thresholds: only for sigmoid", thresholds=(0.5,))
    refused("output.thresholds: must lie in", kind=OutputKind.SIGMOID, thresholds=(1.5,))


@pytest.mark.parametrize("kind", [OutputKind.SOFTMAX, OutputKind.LOG_PROBABILITY])
def test_a_softmax_of_one_class_is_refused(kind: OutputKind) -> None:
    with pytest.raises(ExportError, match="one class of a softmax is always certain; declare sig"):
        ModelContract(STRETCHED, OutputKind.SOFTMAX).head(kind, 1)
    assert ModelContract(STRETCHED, OutputKind.SIGMOID).head(OutputKind.SIGMOID, 1).classes == 1
