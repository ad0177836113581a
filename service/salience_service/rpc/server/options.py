"""What gRPC is told of a server's connections and messages."""

from salience_service.config import ServeConfig

SPARE_CALLS = 1024
"""Beside the calls that are counted: health, of which every load balancer keeps a watch open."""
MOST_OPEN, MOST_OPEN_EACH = 768, 64
"""Health calls at a time, in all and of one address. Fewer than are spare: who is turned away
takes a place too until it is told, and no stranger may take that of a known caller."""

LEAST_PING_SECONDS = 10.0
"""Between two pings of a client, also while nothing runs; our own client's are 15 apart."""
_UNBEGUN_SECONDS = 600
"""That a call may wait until the event loop takes it. By itself gRPC ends it after 30 as cancelled,
without a word: on a busy machine 158 of 500 at once. How long is too long, its deadline says."""


def most_calls(config: ServeConfig) -> int:
    """Calls of any kind at a time, health among them; gRPC itself refuses the next."""
    return config.connections.max_calls + SPARE_CALLS


def server_options(config: ServeConfig) -> list[tuple[str, int]]:
    """gRPC's options, by https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
    stated = config.connections
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        # Our messages are at most a chunk of 1 MiB and its head, a description apart.
        ("grpc.max_send_message_length", -1),
        # Linux would let a second server share the port without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", stated.max_connections),
        ("grpc.max_concurrent_streams", stated.max_streams),
        # Between two limits gRPC refuses at random; we want one.
        ("grpc.max_metadata_size", stated.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", stated.max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _milliseconds(stated.handshake_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(stated.idle_seconds)),
        ("grpc.max_connection_age_ms", _milliseconds(stated.age_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(stated.age_grace_seconds)),
        ("grpc.server_max_unrequested_time_in_server", _UNBEGUN_SECONDS),
        # Finds callers that vanished, so that their explanations end.
        ("grpc.keepalive_time_ms", _milliseconds(stated.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _milliseconds(stated.keepalive_timeout_seconds)),
        # This is what gRPC 1.66 to 1.85 really waits for an answered ping, by itself a minute.
        ("grpc.http2.ping_timeout_ms", _milliseconds(stated.keepalive_timeout_seconds)),
        # Who pings more often while nothing is sent is cut off; gRPC's own bound is 5 minutes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(LEAST_PING_SECONDS)),
    ]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
