"""Who calls, and the request's id: set for each call by the authentication interceptor.

Read them on the event loop, in the task of the call or one made from it, and hand them on
to threads by hand.
"""

from contextvars import ContextVar

from salience_service.access.client import Client, address_of
from salience_service.access.principal import NOBODY, Principal

_caller: ContextVar[Principal] = ContextVar("salience_caller", default=NOBODY)
_request_id: ContextVar[str] = ContextVar("salience_request_id", default="")
_peer: ContextVar[str] = ContextVar("salience_peer", default="")
_rpc: ContextVar[str] = ContextVar("salience_rpc", default="")


def current_caller() -> Principal:
    """Who makes the call at hand; `NOBODY`, who may do nothing, outside of one."""
    return _caller.get()


def current_client() -> Client:
    """The same as limits and quotas count them: with where the call comes from."""
    return Client(_caller.get().name, address_of(_peer.get()))


def request_id() -> str:
    """The id of the call at hand: the caller's `x-request-id`, or ours; empty outside of one."""
    return _request_id.get()


def current_rpc() -> str:
    """The full method that is called; empty where there is none such, and outside of a call."""
    return _rpc.get()


def enter(caller: Principal, request: str, peer: str = "", rpc: str = "") -> None:
    """Says for the rest of this task who calls what, by which id and from where.

    The interceptor's. `rpc`: the full method, where there is such a one.
    """
    _peer.set(peer)
    _caller.set(caller)
    _request_id.set(request)
    _rpc.set(rpc)
