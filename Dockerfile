# syntax=docker/dockerfile:1
# Three images from one file (docs/deployment.md says how large they are and why):
#   docker build --target serving  -t ricefish-serving .     the server: ONNX Runtime with CUDA, no torch, no compiler
#   docker build --target serving  -t ricefish-serving:cpu --build-arg LOCK=serving-cpu.txt .    without CUDA
#   docker build --target training -t ricefish-training .    the pipeline: `dvc repro`, torchrun
#   docker build --target tracking -t ricefish-tracking .    the MLflow server that compose.yaml starts
# Packages come from where the machine that builds gets them (pip and uv settings are passed as build arguments).
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt

# what is installed beside the product: changes with the lock alone, and is by far the largest layer
FROM builder AS serving-environment
ARG LOCK=serving.txt
COPY requirements/${LOCK} requirements/serving.txt
RUN python -m venv --without-pip /opt/ricefish \
 && VIRTUAL_ENV=/opt/ricefish uv pip install --require-hashes -r requirements/serving.txt

# the product, without tests and tools, in the same place; setuptools is the locked one
FROM builder AS product
COPY requirements/all.txt requirements/
RUN awk '/^setuptools==/ {ours = 1} ours && !/^ +#/ {print} ours && !/\\$/ {exit}' requirements/all.txt > build.txt \
 && uv pip install --system --require-hashes -r build.txt \
 && python -m venv --without-pip /opt/ricefish
COPY pyproject.toml README.md LICENSE ./
COPY ricefish ricefish
COPY scans scans
COPY serving serving
COPY training training
RUN uv build --wheel --no-build-isolation --out-dir /wheels \
 && VIRTUAL_ENV=/opt/ricefish uv pip install --no-deps /wheels/*.whl

FROM ${PYTHON} AS serving
RUN useradd --uid 10001 --user-group --home-dir /var/lib/ricefish --shell /usr/sbin/nologin ricefish \
 && install -d -o ricefish -g ricefish /var/lib/ricefish /var/lib/ricefish/store /var/lib/ricefish/scratch
COPY --from=serving-environment /opt/ricefish /opt/ricefish
COPY --from=product /opt/ricefish /opt/ricefish
ENV PATH=/opt/ricefish/bin:$PATH \
    HOME=/var/lib/ricefish \
    TMPDIR=/var/lib/ricefish/scratch \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RICEFISH_HOST=0.0.0.0 \
    RICEFISH_PORT=8000 \
    RICEFISH_STORE=/var/lib/ricefish/store \
    RICEFISH_SCRATCH=/var/lib/ricefish/scratch
USER 10001:10001
WORKDIR /var/lib/ricefish
# the only two places that are written to: docker run --read-only works
VOLUME ["/var/lib/ricefish/store", "/var/lib/ricefish/scratch"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-m", "serving.process.healthcheck", "ready"]
# the model is RICEFISH_MODEL, or an argument: docker run ... ricefish-serving serve --model /models/student
# it listens beyond loopback, so it wants a key: docker run -v ... ricefish-serving keys add --owner ... --scope ...
ENTRYPOINT ["ricefish"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ricefish server" \
      org.opencontainers.image.description="Segments organs in tomography scans of fish, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM builder AS tracking-environment
COPY requirements/tracking.txt requirements/
RUN python -m venv --without-pip /opt/mlflow \
 && VIRTUAL_ENV=/opt/mlflow uv pip install --require-hashes -r requirements/tracking.txt

# MLflow at the locked version, with basic auth, PostgreSQL and S3, which the published image lacks
FROM ${PYTHON} AS tracking
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin mlflow
COPY --from=tracking-environment /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
WORKDIR /tmp
EXPOSE 5000
ENTRYPOINT ["mlflow"]
CMD ["server", "--host", "0.0.0.0"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ricefish tracking" \
      org.opencontainers.image.description="MLflow with basic auth, PostgreSQL and S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM builder AS training-environment
COPY requirements/training.txt requirements/
RUN python -m venv --without-pip /opt/ricefish \
 && VIRTUAL_ENV=/opt/ricefish uv pip install --require-hashes -r requirements/training.txt

FROM ${PYTHON} AS training
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends git openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory '*' \
 && useradd --uid 10001 --user-group --create-home --home-dir /var/lib/ricefish ricefish \
 && chmod 1777 /var/lib/ricefish \
 && install -d -o ricefish -g ricefish /repository
COPY --from=training-environment /opt/ricefish /opt/ricefish
ENV PATH=/opt/ricefish/bin:$PATH \
    HOME=/var/lib/ricefish \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DVC_NO_ANALYTICS=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    HF_HUB_OFFLINE=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
# the repository, with its .git and .dvc, is mounted here: code, dvc.lock, runs and models belong to it, so that the image
# changes with the lock alone; another user's repository wants --user "$(id -u):$(id -g)"
WORKDIR /repository
STOPSIGNAL SIGTERM
CMD ["dvc", "repro"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ricefish pipeline" \
      org.opencontainers.image.description="Trains Ricefish's models: dvc repro, torchrun" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
