"""Models as ListModels and DescribeModel tell them."""

from collections.abc import Sequence
from typing import Protocol

from salience.v1 import explanation_service_pb2 as pb
from salience.v1 import method_pb2
from salience_service.bundle.manifest import Manifest
from salience_service.bundle.manifest_json import to_message
from salience_service.events import GradientSide
from salience_service.methods.options import OptionDescription, describe
from salience_service.models.model import MethodListing
from salience_service.request import ScoreKind
from salience_service.rpc.wire.numbers import OPTION_NUMBERS, SCORE_NUMBERS, SIDE_NUMBERS
from salience_service.rpc.wire.response_map import option_message


class DescribedModel(Protocol):
    """What the wire tells of a served model."""

    name: str
    version: str
    digest: str
    provider: str
    manifest: Manifest
    batch_size: int
    tuning_digest: str
    precision: str

    @property
    def gradient_sides(self) -> tuple[GradientSide, ...]:
        """Which sides can compute gradients."""
        ...

    def methods(self) -> Sequence[MethodListing]:
        """Every method of the server, with whether this model can answer it."""
        ...

    def scores(self) -> Sequence[ScoreKind]:
        """The scores that maps of this model can be given."""
        ...


def model_summary(model: DescribedModel, is_default: bool) -> pb.ModelSummary:
    """One version of a model, in short."""
    return pb.ModelSummary(
        name=model.name,
        version=model.version,
        bundle_digest=model.digest,
        provider=model.provider,
        is_default=is_default,
    )


def model_description(model: DescribedModel, is_default: bool) -> pb.DescribeModelResponse:
    """All of one version of a model."""
    manifest = to_message(model.manifest)
    return pb.DescribeModelResponse(
        summary=model_summary(model, is_default),
        input=manifest.input,
        head=manifest.head,
        taps=manifest.taps,
        methods=[_method(listing) for listing in model.methods()],
        scores=[SCORE_NUMBERS[kind] for kind in model.scores()],
        gradient_sides=[SIDE_NUMBERS[side] for side in model.gradient_sides],
        batch_size=model.batch_size,
        tuning_digest=model.tuning_digest,
        precision=model.precision,
    )


def _method(listing: MethodListing) -> method_pb2.MethodDescription:
    method = listing.method
    return method_pb2.MethodDescription(
        name=method.name,
        summary=method.summary,
        source=method.source,
        options=[_option(option) for option in describe(method.options)],
        class_agnostic=method.class_agnostic,
        fails_sanity_checks=method.fails_sanity_checks,
        needs_gradient=method.needs_gradient,
        anytime=method.anytime is not None,
        default_taps=listing.default_taps,
        available=listing.available,
        unavailable_reason=listing.unavailable_reason,
    )


def _option(option: OptionDescription) -> method_pb2.OptionDescription:
    return method_pb2.OptionDescription(
        name=option.name,
        summary=option.summary,
        type=OPTION_NUMBERS[option.kind],
        default_value=option_message(option.default),
        minimum=option.minimum,
        maximum=option.maximum,
        choices=option.choices,
    )
