"""A refusal as witnesses hear of it, made here alone of the call at hand."""

from salience_service.access.principal import NOBODY
from salience_service.rpc.calls.caller import current_caller, current_rpc, request_id
from salience_service.rpc.calls.observation import outcome_of
from salience_service.telemetry.records import Refusal


def refusal(error: Exception) -> Refusal:
    """The call at hand, or one request in it, turned away with an error."""
    caller = current_caller()
    name = "" if caller is NOBODY else caller.name
    return Refusal(outcome_of(error), request_id(), name, current_rpc())
