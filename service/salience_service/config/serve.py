"""The configuration of a server: every key with its unit, default and limits."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from salience_service.admission import MOST_BYTES, MOST_ROWS
from salience_service.config.access import AccessConfig
from salience_service.config.address import host_of, is_loopback
from salience_service.config.admin import AdminConfig
from salience_service.config.audit import AuditConfig
from salience_service.config.bundles import BundlesConfig
from salience_service.config.connections import ConnectionsConfig
from salience_service.config.logs import LoggingConfig
from salience_service.config.metrics import MetricsConfig
from salience_service.config.quotas import QuotasConfig
from salience_service.config.repository import RepositoryConfig
from salience_service.config.section import Section
from salience_service.config.supervisor import SupervisorConfig
from salience_service.config.tls import TlsConfig
from salience_service.config.tracing import TracingConfig
from salience_service.config.watchdog import WatchdogConfig
from salience_service.errors import ConfigRefused
from salience_service.host_threads import usable_cores
from salience_service.image.pixels import LARGEST_LIMIT, USUAL_RATIO
from salience_service.life.restarts import RestartPolicy
from salience_service.runtime.device import Device

MEBIBYTE = 2**20
_BATCH_SIZES = {"cpu": 2, "cuda": 64, "tensorrt": 64}
_GPU_CALLS = 2
MOST_CALLS = 16
"""At a time on one device: each holds the memory of a batch."""


class ServeConfig(Section):
    """What `salience serve` reads. Valid once constructed."""

    address: str = "127.0.0.1:50051"
    """HOST:PORT to listen on; [HOST]:PORT for IPv6. Port 0 = any free port."""

    insecure: bool = False
    """Allow an address beyond this machine although the connection is not encrypted (no `[tls]`).
    Callers with tokens are never allowed that."""

    tls: TlsConfig | None = None
    """Encrypts the port; left out, it is not encrypted."""

    access: AccessConfig | None = None
    """Who may call; left out, everyone who reaches the port may."""

    reflection: bool = True
    """Answer gRPC reflection (`grpc.reflection.v1alpha`, not v1), so that tools can list the
    service."""

    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    """The ONNX Runtime execution provider; the server never falls back to another silently: nodes
    of a graph that it has no kernel for run on the CPU, and a warning in the log counts them. cuda
    and tensorrt were never run (docs/gpu.md), nor was anything below that needs them."""

    precision: Literal["float32", "tf32", "float16"] = "float32"
    """Of the numbers on the device; below float32 on cuda and tensorrt only, and within what the
    bundle says that it costs; tf32 needs compute capability 8.0 on every device. Gradients are
    taken in float32 whatever it says."""

    devices: tuple[int, ...] = Field((0,), min_length=1, max_length=16)
    """Numbers of the devices that share the work, as CUDA counts them, each with sessions of its
    own. On cpu each is one more session that runs beside the others on the same cores."""

    calls_in_flight: int = Field(0, ge=0, le=MOST_CALLS)
    """Calls on each device at a time. On cuda and tensorrt a second keeps it busy while the host
    makes the next batch ready. On cpu each has threads of its own: batches side by side are faster
    than one after the other on all cores. 0 = on cpu one for each core, or as many as `threads`
    leave room for, at most 16; 2 on cuda and tensorrt."""

    engine_cache_directory: str = ""
    """Where TensorRT keeps what it has built, in a directory that only the server's user may
    write, made where missing. Empty = nowhere: every start builds anew, which takes minutes."""

    device_resident_images: bool = False
    """Keep an explanation's image on the device between its batches (cuda and tensorrt; not
    measured)."""

    batch_size: int = Field(0, ge=0, le=1024)
    """Rows per device call, fixed at warm-up. 0 = as the tune file of a bundle says, or else 2 on
    cpu, 64 on cuda and tensorrt. Where this or `threads` is given, tune files are not used."""

    threads: int = Field(0, ge=0, le=1024)
    """CPU threads of a run of rows. 0 = as the tune file of a bundle says, or else the cores that
    this process may use shared by its calls in flight: one each."""

    image_threads: int = Field(0, ge=0, le=1024)
    """CPU threads of a run of one image: a prediction, a gradient. Gradients of one explanation
    wait for each other, so they may have all cores. 0 = one for each core."""

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

    max_rows_per_request: int = Field(200_000, ge=1, le=10**9)
    """Rows that one request may ask for; more is refused with INVALID_ARGUMENT. By default half of
    what all may, so that none takes the whole server."""

    max_running_per_client: int = Field(32, ge=1, le=4096)
    """Explanations of one client at a time, and calls likewise; one more is refused with
    RESOURCE_EXHAUSTED. A client is a principal, or where callers are anonymous an address (of
    IPv6, a /64): behind a proxy without `[access]`, all are one."""

    cache_bytes: int = Field(0, ge=0, le=2**44)
    """Bytes of finished explanations kept in memory for requests of the same principal that ask the
    same of the same image, the one used longest ago given up first; nothing is written to disk.
    Of requests alike that run at the same time all run; only later ones are spared. 0 = none."""

    max_in_flight_per_call: int = Field(8, ge=1, le=256)
    """Requests of one ExplainMany call in flight; reading stops until one is answered."""

    max_message_bytes: int = Field(32 * MEBIBYTE, ge=64 * 1024, le=2**31 - 1)
    """Bytes of a message received; a longer one is refused with RESOURCE_EXHAUSTED."""

    max_encoded_bytes: int = Field(32 * MEBIBYTE, ge=1024, le=2**31 - 1)
    """Bytes of an encoded image file."""

    max_image_pixels: int = Field(50_000_000, ge=1, le=LARGEST_LIMIT)
    """Pixels of an image, checked before it is decoded."""

    max_compression_ratio: int = Field(USUAL_RATIO, ge=1, le=10**6)
    """Bytes of an image's pixels for each byte of its file, by its header, before it is decoded;
    images of up to 16 MiB decoded are taken whatever it says. By default more than any PNG of 8 or
    16 bits or any JPEG can reach; flat pictures in lossless WebP, 1-bit PNG and fax TIFF do."""

    partial_map_interval_seconds: float = Field(0.25, ge=0, le=60)
    """Least time between two partial maps of one map: each target and method has its own."""

    progress_interval_seconds: float = Field(0.1, gt=0, le=0.4)
    """Time between two progress events of one explanation; at least two a second, unless the
    server is full. What is done sooner tells none."""

    drain_seconds: float = Field(30, ge=0, le=3600)
    """How long running explanations may still take after SIGTERM or SIGINT."""

    connections: ConnectionsConfig = ConnectionsConfig()
    """What a connection may cost, and when one that is of no use is closed."""

    quotas: QuotasConfig = QuotasConfig()
    """How much a principal may ask in a minute and in a day."""

    bundles: BundlesConfig = BundlesConfig()
    """Who may have signed what is served."""

    audit: AuditConfig | None = None
    """Where explanations are recorded; left out, nowhere."""

    repository: RepositoryConfig = RepositoryConfig()
    """Which versions of the models directory serve, and how they come and go."""

    admin: AdminConfig | None = None
    """Where models are loaded, retired and rolled back while the server runs; left out, nowhere."""

    watchdog: WatchdogConfig = WatchdogConfig()
    """When a call on a device is held to be stuck, and a model to be broken."""

    supervisor: SupervisorConfig | None = None
    """Present, the server runs under a parent that starts it again when it crashes."""

    metrics: MetricsConfig = MetricsConfig()
    """Where Prometheus finds the server's figures."""

    tracing: TracingConfig = TracingConfig()
    """Where spans go."""

    logging: LoggingConfig = LoggingConfig()
    """How and how much the server writes to stderr."""

    @property
    def masked_batch_size(self) -> int:
        """Rows per device call, with 0 resolved by the provider."""
        return self.batch_size or _BATCH_SIZES[self.provider]

    @property
    def restart_policy(self) -> RestartPolicy:
        """How often a supervised server is started again.

        Raises:
            ConfigRefused: it may not be supervised as it is configured.
        """
        if self.address.endswith(":0"):
            raise ConfigRefused(
                f"address {self.address!r}: a supervised server needs a port that stays the same "
                "over its restarts, not any free one"
            )
        bounds = self.supervisor or SupervisorConfig()
        return RestartPolicy(
            bounds.most_restarts,
            bounds.window_seconds,
            bounds.first_wait_seconds,
            bounds.longest_wait_seconds,
        )

    @property
    def device(self) -> Device:
        """Where graphs run, with 0 resolved by the provider."""
        cache = self.engine_cache_directory
        return Device(
            provider=self.provider,
            threads=self.threads or self._threads,
            numbers=self.devices,
            calls=self._calls,
            precision=self.precision,
            engine_cache=Path(cache) if cache else None,
            keeps_sources=self.device_resident_images,
            image_threads=self.image_threads,
        )

    @property
    def _calls(self) -> int:
        """Calls on each device at a time, with 0 resolved."""
        if self.calls_in_flight or self.provider != "cpu":
            return self.calls_in_flight or _GPU_CALLS
        room = usable_cores() // (len(self.devices) * max(self.threads, 1))
        return min(max(room, 1), MOST_CALLS)

    @property
    def _threads(self) -> int:
        """CPU threads of a run of rows where none are configured."""
        if self.provider != "cpu":
            return 0
        return max(usable_cores() // (len(self.devices) * self._calls), 1)

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
        if self.tls is not None or is_loopback(host_of(self.address)):
            return self
        if self.access is not None and self.access.by_token:
            raise ValueError(
                f"address {self.address!r} can be reached from other machines, and whoever listens "
                "on the way would have the tokens: give [tls], or use 127.0.0.1"
            )
        if not self.insecure:
            raise ValueError(
                f"address {self.address!r} can be reached from other machines and the connection "
                "is not encrypted: give [tls], use 127.0.0.1, or say insecure = true behind a "
                "proxy with TLS"
            )
        return self

    @model_validator(mode="after")
    def _is_administered_safely(self) -> Self:
        if self.admin is None or is_loopback(host_of(self.admin.address)):
            return self
        if self.tls is None or self.access is None:
            raise ValueError(
                f"admin.address {self.admin.address!r} can be reached from other machines: give "
                "[tls] and [access], or use 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _knows_whose_quotas_it_counts(self) -> Self:
        known = [each.name for each in self.access.principals] if self.access else ["anonymous"]
        for quota in self.quotas.principals:
            if quota.name not in known:
                raise ValueError(
                    f"quotas.principals name {quota.name!r}, whom this server does not know: "
                    "known are " + ", ".join(known[:20])
                )
        return self

    @model_validator(mode="after")
    def _knows_callers_by_what_they_can_show(self) -> Self:
        by_certificate = self.access is not None and self.access.by_certificate
        if by_certificate and not (self.tls and self.tls.client_ca):
            raise ValueError("certificates of principals need tls.client_ca: give it")
        return self
