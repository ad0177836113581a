# The server in a container, in two targets: `cpu` and `gpu`.
#   docker build --target cpu --tag salience:cpu .
#   docker run --read-only --tmpfs /tmp --publish 127.0.0.1:50051:50051 \
#       --volume "$PWD/models:/models:ro" salience:cpu
# Bundles must be signed (docs/signing.md); to serve others, end the command with
#       serve /models --config /etc/salience.toml --unsigned
# BASE is any Debian with Python 3.11 and pip; docs/deploy.md builds on one made by hand.
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protos protos
COPY export export
COPY service service
COPY clients/python clients/python
RUN pip install --no-cache-dir build==1.6.1 && python -m build --wheel --outdir /wheels

FROM ${BASE} AS base
# A new volume at /var/lib/salience takes after this directory: it is the server's to write.
RUN groupadd --gid 10001 salience \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin salience \
    && mkdir /models \
    && install --directory --owner=10001 --group=10001 --mode=700 /var/lib/salience
# gRPC writes a line of its own for each TLS handshake that a stranger breaks off, however many.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=ERROR
COPY constraints.txt /constraints.txt
COPY --from=build /wheels /wheels
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["salience", "health"]
ENTRYPOINT ["salience"]
CMD ["serve", "/models", "--config", "/etc/salience.toml"]

# torch, for guided backpropagation and for models without gradient graphs, would add more than a gigabyte:
# build with --build-arg EXTRAS=service-gpu,torch to have it. It loads no program where it cannot write /tmp.
FROM base AS gpu
ARG EXTRAS=service-gpu
RUN sed 's/^onnxruntime==/onnxruntime-gpu==/' /constraints.txt > /gpu-constraints.txt \
    && pip install --no-cache-dir --constraint /gpu-constraints.txt \
       "$(echo /wheels/salience-*.whl)[${EXTRAS}]"
COPY deploy/gpu.toml /etc/salience.toml
USER 10001:10001

FROM base AS cpu
ARG EXTRAS=service
RUN pip install --no-cache-dir --constraint /constraints.txt \
       "$(echo /wheels/salience-*.whl)[${EXTRAS}]"
COPY deploy/cpu.toml /etc/salience.toml
USER 10001:10001
