"""The admin service: each call is for whom may administer, and shows only models they may know."""

import asyncio
import logging
import time
from concurrent.futures import Future

from salience.v1 import admin_service_pb2 as pb
from salience.v1 import admin_service_pb2_grpc as pb_grpc
from salience_service.access.permits import permit_model
from salience_service.errors import InvalidRequest, NotPossible
from salience_service.rpc.admin.administered import Administered, Directory
from salience_service.rpc.admin.answer import status_message, version_messages
from salience_service.rpc.call import Context
from salience_service.rpc.caller import current_caller, request_id

SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"].full_name
_log = logging.getLogger(__name__)


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Answers the five calls on the event loop; what looks at the disk or loads runs elsewhere.

    Args:
        engine: whose models.
    """

    def __init__(self, engine: Administered) -> None:
        self._engine = engine
        self._began = time.monotonic()

    async def ListVersions(  # noqa: N802
        self, request: pb.ListVersionsRequest, _: Context
    ) -> pb.ListVersionsResponse:
        """Lists every version with its state."""
        permit_model(current_caller(), request.model)
        return pb.ListVersionsResponse(versions=await self._versions(request.model))

    async def LoadVersion(  # noqa: N802
        self, request: pb.LoadVersionRequest, _: Context
    ) -> pb.LoadVersionResponse:
        """Loads a version, or loads it anew; a caller who leaves does not end what has begun."""
        model, version = _named(request, "load")
        await _done(self._directory.load(model, version))
        return pb.LoadVersionResponse(versions=await self._versions(model))

    async def RetireVersion(  # noqa: N802
        self, request: pb.RetireVersionRequest, _: Context
    ) -> pb.RetireVersionResponse:
        """Retires a version."""
        model, version = _named(request, "retire")
        self._directory.retire(model, version)
        return pb.RetireVersionResponse(versions=await self._versions(model))

    async def Rollback(  # noqa: N802
        self, request: pb.RollbackRequest, _: Context
    ) -> pb.RollbackResponse:
        """Says which version answers requests that name none."""
        model, version = _named(request, "roll back")
        if version:
            await _done(self._directory.roll_back(model, version))
        elif request.newest:
            self._directory.roll_forward(model)
        else:
            raise InvalidRequest("say which version answers, or newest = true", field="to")
        return pb.RollbackResponse(versions=await self._versions(model))

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

    async def _versions(self, model: str) -> list[pb.VersionStatus]:
        versions = await asyncio.to_thread(self._directory.versions)
        sees = current_caller().may.sees
        return version_messages((each for each in versions if sees(each.name.model)), model)


def _named(
    request: pb.LoadVersionRequest | pb.RetireVersionRequest | pb.RollbackRequest, what: str
) -> tuple[str, str]:
    """The model and version of a request, where the caller may know of the model."""
    caller = current_caller()
    permit_model(caller, request.model)
    # Quoted, for both are the caller's own words.
    _log.info(
        "%s asks to %s %r %r, request %s",
        caller.name, what, request.model[:64], request.version[:64], request_id(),
    )  # fmt: skip
    return request.model, request.version


async def _done(job: Future[None]) -> None:
    await asyncio.wrap_future(job)
