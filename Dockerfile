# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target serving  -t ricefish-serving .     the server: ONNX Runtime, no torch, no compiler
#   docker build --target training -t ricefish-training .    the pipeline: `dvc repro`
# Packages come from where the machine that builds gets them (pip and uv settings are passed as build arguments).
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements/uv.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/uv.txt

# what runs, without the tests and the tools; setuptools is the locked one
FROM builder AS wheel
COPY requirements/all.txt requirements/
RUN awk '/^setuptools==/ {ours = 1} ours && !/^ +#/ {print} ours && !/\\$/ {exit}' requirements/all.txt > build.txt \
 && uv pip install --system --no-cache --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY ricefish ricefish
COPY scans scans
COPY serving serving
COPY training training
RUN uv build --wheel --no-build-isolation --no-cache --out-dir /wheels

FROM builder AS serving-environment
RUN python -m venv --without-pip /opt/ricefish
COPY requirements/serving.txt requirements/
RUN VIRTUAL_ENV=/opt/ricefish uv pip install --no-cache --require-hashes -r requirements/serving.txt
COPY --from=wheel /wheels /wheels
RUN VIRTUAL_ENV=/opt/ricefish uv pip install --no-cache --no-deps /wheels/*.whl

FROM ${PYTHON} AS serving
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/ricefish ricefish
COPY --from=serving-environment /opt/ricefish /opt/ricefish
ENV PATH=/opt/ricefish/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RICEFISH_HOST=0.0.0.0 \
    RICEFISH_PORT=8000 \
    RICEFISH_STORE=/var/lib/ricefish/store
USER ricefish
WORKDIR /var/lib/ricefish
VOLUME /var/lib/ricefish/store
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"RICEFISH_PORT\"]}/health/ready', timeout=4)"]
# the model is RICEFISH_MODEL, or an argument: docker run ... ricefish-serving --model /models/student
# it listens beyond loopback, so it wants a key: docker run --entrypoint ricefish -v ... ricefish-serving keys add ...
ENTRYPOINT ["ricefish", "serve"]

FROM ${PYTHON} AS training
RUN apt-get update \
 && apt-get install -y --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home ricefish
COPY --from=builder /usr/local/bin/uv /usr/local/bin/uv
COPY requirements/all.txt /tmp/all.txt
RUN python -m venv --without-pip /opt/ricefish \
 && VIRTUAL_ENV=/opt/ricefish uv pip install --no-cache --require-hashes -r /tmp/all.txt \
 && rm /tmp/all.txt
ENV PATH=/opt/ricefish/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    DVC_NO_ANALYTICS=1 \
    HF_HUB_OFFLINE=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER ricefish
# the repository, with its .git and .dvc, is mounted here: dvc.lock, runs and models belong to it
WORKDIR /repository
CMD ["dvc", "repro"]
