"""What `import salience_client` promises, and what it must never drag in."""

import subprocess
import sys

import salience_client

# A name taken away or renamed breaks programs that people wrote: change this list only
# together with the changelog.
PUBLIC_NAMES = [
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

HEAVY = "PIL cmap rich typer torch onnx onnxruntime pydantic salience_service salience_export"


def test_the_public_names_are_these_and_no_others():
    assert sorted(salience_client.__all__) == sorted(PUBLIC_NAMES)


def test_every_public_name_is_there():
    missing = [name for name in salience_client.__all__ if not hasattr(salience_client, name)]

    assert missing == []


def test_everything_public_says_what_it_is():
    described = (getattr(salience_client, name) for name in PUBLIC_NAMES)
    bare = [thing for thing in described if isinstance(thing, type) and not thing.__doc__]

    assert bare == []


def test_importing_the_client_imports_nothing_but_its_own_dependencies():
    code = f"import sys, salience_client; print(*(set({HEAVY.split()!r}) & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == []
