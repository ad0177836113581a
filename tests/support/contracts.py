"""Input contracts for tests: of images in general, and of the small networks."""

from salience_service.bundle.manifest import (
    ColourOrder,
    InputContract,
    Interpolation,
    Resize,
    ResizeRule,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def contract(
    rule: ResizeRule = ResizeRule.SHORT_SIDE,
    size: tuple[int, int] = (224, 224),
    short_side: int = 256,
    order: ColourOrder = ColourOrder.RGB,
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> InputContract:
    """ImageNet's usual numbers, one or three channels by the colour order."""
    grey = order is ColourOrder.GREY
    return InputContract(
        channels=1 if grey else 3,
        height=size[0],
        width=size[1],
        colour_order=order,
        white=1.0,
        mean=(0.449,) if grey else MEAN,
        std=(0.226,) if grey else STD,
        resize=Resize(rule, interpolation, short_side if rule is ResizeRule.SHORT_SIDE else 0),
    )


def image_contract(channels: int = 3, side: int = 32) -> InputContract:
    """The input of the small networks: any image, stretched to a small square."""
    order = ColourOrder.RGB if channels == 3 else ColourOrder.GREY
    return contract(
        ResizeRule.STRETCH, (side, side), order=order, interpolation=Interpolation.BILINEAR
    )
