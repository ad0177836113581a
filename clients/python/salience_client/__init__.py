"""The Python client of Salience: ask a server, or an engine in this process, why this class.

from salience_client import Client, Method, overlay

with Client("localhost:50051") as client:
    explanation = client.explain(
        "cat.jpg",
        model="efficientnet-lite0",
        methods=["score-cam", Method("poly-cam", weights="plus")],
        scores=["ad", "ai", "ag"],
    )
for saliency_map in explanation.maps:
    print(saliency_map.method, saliency_map.scores)
picture = overlay("cat.jpg", explanation["score-cam"])
"""

from salience_client.client import AsyncClient, Client
from salience_client.errors import (
    AccessDenied,
    BrokenAnswer,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    MissingExtra,
    NoFinding,
    NotFound,
    NotPossible,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    Resource,
    SalienceError,
    ServerFailed,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from salience_client.events import (
    ClassScore,
    Event,
    Failed,
    Finished,
    PartialMap,
    Prediction,
    Progress,
    Restarted,
    Started,
)
from salience_client.explanation import Explanation
from salience_client.fill import Blur, Colour, Fill
from salience_client.grpc_transport import AsyncGrpcTransport, GrpcTransport
from salience_client.identity import Tls
from salience_client.image import Dicom, ImageLike, Pixels, Preprocessed
from salience_client.in_process import open_in_process
from salience_client.method import Method
from salience_client.model import (
    Input,
    MethodDescription,
    ModelDescription,
    ModelSummary,
    Option,
    Tap,
)
from salience_client.picture import letterboxed, overlay
from salience_client.reader import AnswerReader
from salience_client.request import RequestOptions, StopWhen, explain_request
from salience_client.retries import RetryPolicy
from salience_client.saliency_map import (
    Convergence,
    GraphUse,
    Provenance,
    Rectangle,
    ResolvedTarget,
    SaliencyMap,
    ScoreCurve,
    Scores,
)
from salience_client.target import AboveThreshold, Absent, Difference, Present, Target, TopK
from salience_client.tiles import Tile, montage
from salience_client.transport import AsyncTransport, Transport

__all__ = [
    "AboveThreshold",
    "Absent",
    "AccessDenied",
    "AnswerReader",
    "AsyncClient",
    "AsyncGrpcTransport",
    "AsyncTransport",
    "Blur",
    "BrokenAnswer",
    "Cancelled",
    "ClassScore",
    "Client",
    "Colour",
    "Convergence",
    "DeadlineExceeded",
    "Dicom",
    "Difference",
    "Event",
    "Explanation",
    "Failed",
    "Fill",
    "Finished",
    "GraphUse",
    "GrpcTransport",
    "ImageLike",
    "Input",
    "InvalidRequest",
    "Method",
    "MethodDescription",
    "MissingExtra",
    "ModelDescription",
    "ModelSummary",
    "NoFinding",
    "NotFound",
    "NotPossible",
    "Option",
    "Overloaded",
    "PartialMap",
    "PermissionDenied",
    "Pixels",
    "Prediction",
    "Preprocessed",
    "Present",
    "Progress",
    "Provenance",
    "QuotaExceeded",
    "Rectangle",
    "RequestOptions",
    "ResolvedTarget",
    "Resource",
    "Restarted",
    "RetryPolicy",
    "SalienceError",
    "SaliencyMap",
    "ScoreCurve",
    "Scores",
    "ServerFailed",
    "Started",
    "StopWhen",
    "Tap",
    "Target",
    "Tile",
    "Tls",
    "TopK",
    "Transport",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "explain_request",
    "letterboxed",
    "montage",
    "open_in_process",
    "overlay",
]
