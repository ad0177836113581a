"""Calls a server with Triton's own client: run by an interpreter that has tritonclient.

    python triton_calls.py ADDRESS MODEL FOLDER

FOLDER holds images.npy (as the model takes them) and pixels.npy; answers are written there as
NAME-OUTPUT.npy. What else was told is printed as JSON, with the client's own contract.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

DATATYPES = {"images": "FP32", "pixels": "UINT8"}
OUTPUTS = ("probabilities", "logits")


def main(address: str, model: str, folder: Path) -> None:
    with triton.InferenceServerClient(address) as client:
        told = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "other_ready": client.is_model_ready("no-such-model"),
            "server": client.get_server_metadata(as_json=True),
            "model": client.get_model_metadata(model, as_json=True),
            "answers": [predicted(client, model, name, folder) for name in DATATYPES],
            "refusal": refused(client, model),
            "contract": contract(),
        }
    print(json.dumps(told))


def predicted(client: triton.InferenceServerClient, model: str, name: str, folder: Path) -> dict:
    sent = tensor(name, np.load(folder / f"{name}.npy"))
    wanted = [triton.InferRequestedOutput(output) for output in OUTPUTS]
    found = client.infer(model, [sent], outputs=wanted, request_id=name)
    for output in OUTPUTS:
        np.save(folder / f"{name}-{output}.npy", found.as_numpy(output))
    return {"id": found.get_response().id, "version": found.get_response().model_version}


def tensor(name: str, values: np.ndarray) -> triton.InferInput:
    sent = triton.InferInput(name, values.shape, DATATYPES[name])
    sent.set_data_from_numpy(values)
    return sent


def refused(client: triton.InferenceServerClient, model: str) -> str:
    try:
        client.infer(model, [tensor("images", np.zeros((1, 1, 1, 1), np.float32))])
    except InferenceServerException as refusal:
        return str(refusal.status())
    return "answered"


def contract() -> dict:
    """The fields of every message, and the calls, as this client has them."""
    file = service_pb2.DESCRIPTOR
    messages = {}
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        waiting += message.nested_types
        messages[message.full_name] = {
            field.name: [field.number, field.type, field.is_repeated] for field in message.fields
        }
    service = file.services_by_name["GRPCInferenceService"]
    calls = {
        call.name: [call.input_type.full_name, call.output_type.full_name, call.server_streaming]
        for call in service.methods
    }
    return {"messages": messages, "service": service.full_name, "calls": calls}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
