"""Calls a server with KServe's own client: run by an interpreter that has kserve.

    python kserve_calls.py ADDRESS MODEL FOLDER

FOLDER holds images.npy (as the model takes them) and pixels.npy; logits are written there as
NAME-HOW-logits.npy, HOW being how the elements were sent. What else was told is printed as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

DATATYPES = {"images": "FP32", "pixels": "UINT8"}


async def main(address: str, model: str, folder: Path) -> None:
    async with InferenceGRPCClient(address) as client:
        told = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(model),
            "other_ready": await client.is_model_ready("no-such-model"),
            "answers": [
                await predicted(client, model, made(np.load(folder / f"{name}.npy"), name), folder)
                for name in DATATYPES
                for made in (raw, typed)
            ],
            "refusal": await refused(client, model),
        }
    print(json.dumps(told))


def raw(values: np.ndarray, name: str) -> InferInput:
    sent = InferInput(name, list(values.shape), DATATYPES[name])
    sent.set_data_from_numpy(values)
    return sent


def typed(values: np.ndarray, name: str) -> InferInput:
    return InferInput(name, list(values.shape), DATATYPES[name], data=values.ravel().tolist())


async def predicted(
    client: InferenceGRPCClient, model: str, sent: InferInput, folder: Path
) -> list[str]:
    name = f"{sent.name}-{'raw' if sent.data is None else 'typed'}"
    wanted = [RequestedOutput("logits")]
    request = InferRequest(model, [sent], request_id=name, request_outputs=wanted)
    answer = await client.infer(request)
    np.save(folder / f"{name}-logits.npy", answer.outputs[0].as_numpy())
    return [answer.id, answer.model_name, answer.model_version]


async def refused(client: InferenceGRPCClient, model: str) -> str:
    try:
        await client.infer(InferRequest(model, [raw(np.zeros((1, 1, 1, 1), np.float32), "images")]))
    except grpc.RpcError as refusal:
        return str(refusal.code())
    return "answered"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
