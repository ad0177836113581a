"""What a principal may not ask, refused before any work.

A model outside a principal's patterns does not exist for it, whether it is served or not:
both are NotFound, in the same words and at the same point, so that names cannot be tried.
Methods are in the documentation for all to read, so a method is PermissionDenied.
"""

from collections.abc import Iterable

from salience_service.access.principal import Call, Principal
from salience_service.errors import NotFound, PermissionDenied

_LONGEST_NAME = 128
"""Characters of a name that are told back."""


def permit_call(caller: Principal, call: Call) -> None:
    """Lets pass who may want this of the server.

    Raises:
        PermissionDenied: it may not.
    """
    if not caller.may.has(call):
        raise PermissionDenied(
            f"{caller.name} may not {call.value} here: whoever runs the server can allow it"
        )


def permit_model(caller: Principal, model: str) -> None:
    """Lets pass who may know of the model; an empty name is for others to refuse.

    Raises:
        NotFound: it may not.
    """
    if model and not caller.may.sees(model):
        raise no_model(model)


def permit_methods(caller: Principal, methods: Iterable[str]) -> None:
    """Lets pass who may ask for these explanation methods.

    Raises:
        PermissionDenied: it may not ask for one of them.
    """
    for number, method in enumerate(methods):
        if not caller.may.has_method(method):
            raise PermissionDenied(
                f"{caller.name} may not ask for the method {method[:_LONGEST_NAME]!r}: "
                "whoever runs the server can allow it",
                field=f"methods[{number}].name",
                resource=("method", method[:_LONGEST_NAME]),
            )


def no_model(name: str) -> NotFound:
    """A model that is not here, or not for this caller; in the words of the repository.

    Those name no other model, for the caller may not know of them.
    """
    told = name[:_LONGEST_NAME]
    return NotFound(
        f"no model {told!r} here: ListModels tells those there are",
        field="model",
        resource=("model", told),
    )
