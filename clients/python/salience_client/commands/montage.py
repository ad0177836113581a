"""What `salience explain --montage` draws: one photograph under every map of an explanation."""

from pathlib import Path

from salience_client.commands.files import write_png
from salience_client.explanation import Explanation
from salience_client.picture import ImageSource, overlay
from salience_client.saliency_map import SaliencyMap
from salience_client.tiles import Tile, montage


def write_montage(
    explanation: Explanation, image: ImageSource, name: str, resize: str, file: Path
) -> None:
    """Writes the image as the model saw it, then each map over it, in rows, as a PNG.

    Args:
        explanation: one or more maps in input geometry.
        image: the image as it was sent.
        name: the image's, for the title.
        resize: the model's resize rule.
        file: in a directory that is there.
    """
    maps = explanation.maps
    targets = {map_.target.name for map_ in maps}
    started = explanation.started
    title = [
        name,
        f"{started.model} {started.version}",
        *(targets if len(targets) == 1 else ()),
    ]
    plain = Tile(overlay(image, maps[0], 0, resize=resize), "the photograph")
    tiles = [
        Tile(overlay(image, map_, resize=resize), map_.method, _note(map_, len(targets) > 1))
        for map_ in maps
    ]
    write_png(montage(" · ".join(title), [plain, *tiles]), file)


def _note(map_: SaliencyMap, with_target: bool) -> str:
    target = [map_.target.name] if with_target else []
    signed = ["signed"] if map_.is_signed else []
    return ", ".join([*target, *signed, *sorted(map_.flags)])
