"""The admin service: each call is for whom may administer, and shows only models they may know."""

import asyncio
import time

from salience.v1 import admin_service_pb2 as pb
from salience.v1 import admin_service_pb2_grpc as pb_grpc
from salience_service.access.permits import permit_model
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.models.versions import VersionName, name_of
from salience_service.rpc.admin.action import Act, begun
from salience_service.rpc.admin.administered import Administered, Directory
from salience_service.rpc.admin.answer import status_message, version_messages
from salience_service.rpc.calls.call import Context, abort
from salience_service.rpc.calls.caller import current_caller, request_id
from salience_service.telemetry.records import Action
from salience_service.telemetry.witness import NOBODY, Witness

SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"].full_name


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Answers the five calls on the event loop; what looks at the disk or loads runs elsewhere.

    Args:
        engine: whose models.
        witness: is told of every action, before it is done and when it has ended.
    """

    def __init__(self, engine: Administered, witness: Witness = NOBODY) -> None:
        self._engine, self._witness = engine, witness
        self._began = time.monotonic()

    async def ListVersions(  # noqa: N802
        self, request: pb.ListVersionsRequest, _: Context
    ) -> pb.ListVersionsResponse:
        """Lists every version with its state."""
        permit_model(current_caller(), request.model)
        return pb.ListVersionsResponse(versions=await self._versions(request.model))

    async def LoadVersion(  # noqa: N802
        self, request: pb.LoadVersionRequest, context: Context
    ) -> pb.LoadVersionResponse:
        """Loads a version, or loads it anew; a caller who leaves does not end what has begun."""
        name, directory = _named(request), self._directory
        await self._do("load", name, lambda: directory.load(*name), context)
        return pb.LoadVersionResponse(versions=await self._versions(name.model))

    async def RetireVersion(  # noqa: N802
        self, request: pb.RetireVersionRequest, context: Context
    ) -> pb.RetireVersionResponse:
        """Retires a version."""
        name, directory = _named(request), self._directory
        await self._do("retire", name, lambda: directory.retire(*name), context)
        return pb.RetireVersionResponse(versions=await self._versions(name.model))

    async def Rollback(  # noqa: N802
        self, request: pb.RollbackRequest, context: Context
    ) -> pb.RollbackResponse:
        """Says which version answers requests that name none."""
        if request.newest:
            model, directory = _model(request), self._directory
            newest = VersionName(model, "")
            await self._do("roll_forward", newest, lambda: directory.roll_forward(model), context)
        else:
            await self._roll_back(request, context)
        return pb.RollbackResponse(versions=await self._versions(request.model))

    async def _roll_back(self, request: pb.RollbackRequest, context: Context) -> None:
        if not request.version:
            _model(request)
            raise InvalidRequest("say which version answers, or newest = true", field="to")
        name, directory = _named(request), self._directory
        await self._do("roll_back", name, lambda: directory.roll_back(*name), context)

    async def GetStatus(  # noqa: N802
        self, _: pb.GetStatusRequest, __: Context
    ) -> pb.GetStatusResponse:
        """Says how the server fares."""
        return status_message(self._engine, time.monotonic() - self._began)

    @property
    def _directory(self) -> Directory:
        if self._engine.directory is None:
            raise NotPossible("the models of this server come from no directory")
        return self._engine.directory

    async def _do(self, what: str, name: VersionName, act: Act, context: Context) -> None:
        """Does it between two words to the witness; the second tells of an error, and so do we."""
        action = Action(request_id(), current_caller().name, what, *name)
        running = await asyncio.to_thread(begun, action, act, self._witness)
        try:
            await asyncio.wrap_future(running)
        except Exception as error:
            await abort(context, error)

    async def _versions(self, model: str) -> list[pb.VersionStatus]:
        versions = await asyncio.to_thread(self._directory.versions)
        sees = current_caller().may.sees
        return version_messages((each for each in versions if sees(each.name.model)), model)


def _named(
    request: pb.LoadVersionRequest | pb.RetireVersionRequest | pb.RollbackRequest,
) -> VersionName:
    return VersionName(_model(request), name_of("version", request.version))


def _model(
    request: pb.LoadVersionRequest | pb.RetireVersionRequest | pb.RollbackRequest,
) -> str:
    """The model of a request, where the caller may know of it."""
    permit_model(current_caller(), request.model)
    return name_of("model", request.model)
