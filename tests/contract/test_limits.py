"""Every limit of the configuration has a test: a new key that is one is named here with its own."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args, get_origin

import pytest

from salience_service.config import ServeConfig
from salience_service.config.section import Section

TESTS = Path(__file__).parents[1]
WHOLE_TABLES = ("connections.", "quotas.")
"""All keys of these tables are limits; of the others those called so."""
LIMIT_WORDS = ("max_", "most_")

ADMISSION = "integration/test_engine_admission.py"
CONNECTIONS = "integration/test_server_connections.py"
ERRORS = "integration/test_server_errors.py"
LIMITS = "integration/test_server_limits.py"
MANY = "integration/test_server_many.py"
QUOTAS = "unit/test_quotas.py"

TESTED: Mapping[str, str] = {
    "max_explanations": f"{MANY}"
    "::test_requests_beyond_the_servers_limit_are_refused_under_their_tags",
    "max_queued_rows": f"{ADMISSION}::test_rows_beyond_the_limit_are_refused_until_there_is_room",
    "max_queued_bytes": f"{ADMISSION}::test_bytes_beyond_the_limit_are_refused_until_there_is_room",
    "max_rows_per_request": f"{ADMISSION}"
    "::test_one_request_may_ask_for_fewer_rows_than_all_may_together",
    "max_running_per_client": f"{LIMITS}::test_one_client_may_not_run_all_explanations",
    "max_in_flight_per_call": f"{MANY}"
    "::test_reading_stops_at_the_window_until_an_answer_is_complete",
    "max_message_bytes": f"{ERRORS}"
    "::test_a_message_over_the_limit_is_refused_and_the_server_goes_on",
    "max_encoded_bytes": "integration/test_server_engine.py"
    "::test_bad_input_is_refused_by_status_and_tells_nothing_from_inside",
    "max_image_pixels": "integration/test_server_engine.py"
    "::test_bad_input_is_refused_by_status_and_tells_nothing_from_inside",
    "max_compression_ratio": "unit/test_compression_ratio.py"
    "::test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_decoded",
    "cache_bytes": "unit/test_explanation_cache.py::test_the_answer_used_longest_ago_goes_first",
    "partial_map_interval_seconds": "integration/test_engine_pace.py"
    "::test_partial_maps_keep_their_distance",
    "repository.max_versions": "unit/test_models_by_hand.py"
    "::test_no_more_versions_serve_than_may_and_one_loaded_anew_needs_no_room",
    "supervisor.most_restarts": "unit/test_restarts.py"
    "::test_waits_double_up_to_the_longest_and_then_it_gives_up",
    "connections.max_connections": f"{CONNECTIONS}"
    "::test_connections_beyond_the_most_are_closed_at_once_and_those_before_stay",
    "connections.max_streams": f"{CONNECTIONS}"
    "::test_calls_beyond_the_streams_of_a_connection_wait_for_their_turn",
    "connections.max_calls": f"{LIMITS}"
    "::test_calls_of_all_clients_are_bounded_and_refused_before_their_message_is_read",
    "connections.max_metadata_bytes": f"{CONNECTIONS}"
    "::test_more_metadata_than_the_limit_is_refused_and_the_server_goes_on",
    "connections.handshake_seconds": f"{CONNECTIONS}"
    "::test_who_connects_and_says_nothing_is_cut_off",
    "connections.keepalive_seconds": f"{CONNECTIONS}"
    "::test_a_caller_behind_a_dead_line_is_found_and_its_explanation_ends",
    "connections.keepalive_timeout_seconds": f"{CONNECTIONS}"
    "::test_a_caller_behind_a_dead_line_is_found_and_its_explanation_ends",
    "connections.idle_seconds": f"{CONNECTIONS}"
    "::test_a_connection_without_calls_is_closed_when_idle_and_its_client_connects_anew",
    "connections.age_seconds": f"{CONNECTIONS}"
    "::test_a_long_answer_outlives_the_age_of_its_connection_and_new_calls_go_elsewhere",
    "connections.age_grace_seconds": f"{CONNECTIONS}"
    "::test_an_answer_that_takes_longer_than_the_grace_is_ended",
    "connections.slow_sender_seconds": f"{LIMITS}"
    "::test_who_does_not_send_the_message_of_a_call_is_not_waited_for",
    "connections.slow_reader_seconds": f"{LIMITS}"
    "::test_a_slow_reader_holds_a_few_messages_and_is_ended_in_time",
    "quotas.requests_per_minute": f"{LIMITS}"
    "::test_requests_beyond_a_quota_are_refused_with_when_to_come_again",
    "quotas.rows_per_minute": f"{QUOTAS}::test_rows_are_counted_by_their_number",
    "quotas.rows_per_day": f"{LIMITS}::test_rows_beyond_a_quota_are_refused_when_they_are_known",
    "quotas.principals": f"{QUOTAS}"
    "::test_a_principal_has_its_own_quotas_and_all_others_those_of_all",
}
"""Each limit with the test that goes beyond it."""

NOT_CALLED_SO = {"cache_bytes", "partial_map_interval_seconds"}
"""Limits all the same."""


def limits() -> Iterator[str]:
    for name in keys(ServeConfig, ""):
        called_so = name.rpartition(".")[2].startswith(LIMIT_WORDS)
        if called_so or name.startswith(WHOLE_TABLES) or name in NOT_CALLED_SO:
            yield name


def keys(section: type[Section], before: str) -> Iterator[str]:
    """The keys of a section and of those in it, with dots; a list of tables is one key."""
    for name, key in section.model_fields.items():
        inner = table(key.annotation)
        if inner is None:
            yield before + name
        else:
            yield from keys(inner, f"{before}{name}.")


def table(annotation: object) -> type[Section] | None:
    """The section that a key holds, optional or not."""
    if get_origin(annotation) is tuple:
        return None
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Section):
            return each
    return None


def test_every_limit_has_a_test_and_no_test_is_of_a_limit_that_is_gone() -> None:
    found = set(limits())
    assert found - TESTED.keys() == set(), "limits without a test: write it, and name it here"
    assert TESTED.keys() - found == set(), "these keys are no limits of the configuration any more"


@pytest.mark.parametrize("key", TESTED)
def test_the_test_of_a_limit_exists(key: str) -> None:
    file, _, name = TESTED[key].partition("::")
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert name in defined, f"{file} has no {name}"
