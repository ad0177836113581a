"""The configuration of a server: every key with its unit, default and limits."""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from salience_service.admission import MOST_BYTES, MOST_ROWS
from salience_service.config.section import Section
from salience_service.image.pixels import LARGEST_LIMIT
from salience_service.runtime.device import Device

MEBIBYTE = 2**20
_BATCH_SIZES = {"cpu": 8, "cuda": 64, "tensorrt": 64}
_CALLS = {"cpu": 1, "cuda": 2, "tensorrt": 2}


class ServeConfig(Section):
    """What `salience serve` reads. Valid once constructed."""

    address: str = "127.0.0.1:50051"
    """HOST:PORT to listen on; [HOST]:PORT for IPv6. Port 0 = any free port."""

    insecure: bool = False
    """Allow an address beyond this machine although the connection is not encrypted."""

    reflection: bool = True
    """Answer gRPC reflection, so that tools can list the service."""

    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    """The ONNX Runtime execution provider; the server never falls back to another silently."""

    precision: Literal["float32", "tf32", "float16"] = "float32"
    """Of the numbers on the device; below float32 on cuda and tensorrt only, and within what the
    bundle says that it costs. Gradients are taken in float32 whatever it says."""

    devices: tuple[int, ...] = Field((0,), min_length=1, max_length=16)
    """Numbers of the devices that share the work, as CUDA counts them, each with sessions of its
    own. On cpu each is one more session that runs beside the others on the same cores."""

    calls_in_flight: int = Field(0, ge=0, le=4)
    """Calls on each device at a time: a second keeps it busy while the host makes the next batch
    ready. 0 = 1 on cpu, 2 on cuda and tensorrt."""

    engine_cache_directory: str = ""
    """Where TensorRT keeps what it has built, in a directory that only the server's user may
    write, made where missing. Empty = nowhere: every start builds anew, which takes minutes."""

    device_resident_images: bool = False
    """Keep an explanation's image on the device between its batches (cuda and tensorrt)."""

    batch_size: int = Field(0, ge=0, le=1024)
    """Rows per device call, fixed at warm-up. 0 = as the tune file of a bundle says, or else 8 on
    cpu, 64 on cuda and tensorrt. Where this or `threads` is given, tune files are not used."""

    threads: int = Field(0, ge=0, le=1024)
    """CPU threads per graph run. 0 = as the tune file of a bundle says, or else one for each core
    this process may use."""

    load_torch_at_start: bool = False
    """Load torch programs before serving, not when a gradient is first asked of torch. The
    gradient graphs of a bundle are always opened, checked and run before serving."""

    max_explanations: int = Field(64, ge=1, le=4096)
    """Explanations that run at a time; one more is refused with RESOURCE_EXHAUSTED."""

    max_queued_rows: int = Field(MOST_ROWS, ge=1, le=10**9)
    """Rows (masked images, gradients) that running explanations may ask for together; the next
    one that would go beyond is refused with RESOURCE_EXHAUSTED, and one that alone asks for
    more with INVALID_ARGUMENT. By default 400,000: 64 RISE of 6,000 masks."""

    max_queued_bytes: int = Field(MOST_BYTES, ge=16 * MEBIBYTE, le=2**44)
    """Bytes that running explanations may hold together: images as sent and decoded, features,
    logits, maps while they are drawn; refused like rows. Models and what their batches take come
    on top. By default 3 GiB: a photograph of 50 megapixels with maps drawn over all of it."""

    cache_bytes: int = Field(0, ge=0, le=2**44)
    """Bytes of finished explanations kept in memory for requests that ask the same of the same
    image, the one used longest ago given up first; nothing is written to disk. 0 = none."""

    max_in_flight_per_call: int = Field(8, ge=1, le=256)
    """Requests of one ExplainMany call in flight; reading stops until one is answered."""

    max_message_bytes: int = Field(32 * MEBIBYTE, ge=64 * 1024, le=2**31 - 1)
    """Bytes of a message received; a longer one is refused with RESOURCE_EXHAUSTED."""

    max_encoded_bytes: int = Field(32 * MEBIBYTE, ge=1024, le=2**31 - 1)
    """Bytes of an encoded image file."""

    max_image_pixels: int = Field(50_000_000, ge=1, le=LARGEST_LIMIT)
    """Pixels of an image, checked before it is decoded."""

    partial_map_interval_seconds: float = Field(0.25, ge=0, le=60)
    """Least time between two partial maps of one explanation."""

    progress_interval_seconds: float = Field(0.1, gt=0, le=0.4)
    """Time between two progress events of one explanation; at least two a second."""

    drain_seconds: float = Field(30, ge=0, le=3600)
    """How long running explanations may still take after SIGTERM or SIGINT."""

    @property
    def masked_batch_size(self) -> int:
        """Rows per device call, with 0 resolved by the provider."""
        return self.batch_size or _BATCH_SIZES[self.provider]

    @property
    def device(self) -> Device:
        """Where graphs run, with 0 resolved by the provider."""
        cache = self.engine_cache_directory
        return Device(
            provider=self.provider,
            threads=self.threads,
            numbers=self.devices,
            calls=self.calls_in_flight or _CALLS[self.provider],
            precision=self.precision,
            engine_cache=Path(cache) if cache else None,
            keeps_sources=self.device_resident_images,
        )

    @field_validator("devices", mode="before")
    @classmethod
    def _listed(cls, devices: object) -> object:
        """TOML has lists where this class, being frozen, has tuples."""
        return tuple(devices) if isinstance(devices, list) else devices

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[int, ...]) -> tuple[int, ...]:
        if min(devices) < 0 or len(set(devices)) < len(devices):
            raise ValueError("numbers from 0, each once")
        return devices

    @model_validator(mode="after")
    def _suits_the_provider(self) -> Self:
        if self.provider == "cpu" and self.precision != "float32":
            raise ValueError(
                f"precision = {self.precision!r} needs provider = 'cuda' or 'tensorrt': "
                "on cpu use 'float32'"
            )
        if self.provider == "cpu" and self.device_resident_images:
            raise ValueError("device_resident_images needs provider = 'cuda' or 'tensorrt'")
        if self.provider != "tensorrt" and self.engine_cache_directory:
            raise ValueError("engine_cache_directory needs provider = 'tensorrt'")
        return self

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        host = _host(self.address)
        if not self.insecure and not _is_loopback(host):
            raise ValueError(
                f"address {self.address!r} can be reached from other machines and the connection "
                "is not encrypted: use 127.0.0.1, or say insecure = true behind a proxy with TLS"
            )
        return self


def _host(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ValueError(f"address {address!r} is not HOST:PORT with a port from 0 to 65535")
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
