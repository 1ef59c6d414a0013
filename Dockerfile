# superres3d as a BIDS app: docker run IMAGE /data /out participant --participant-label 01
# For a graphics card: docker build --build-arg EXTRAS=batch,torch ., and docker run --gpus all.
# The image needs no network when it runs, and works with --read-only and any --user.
FROM python:3.12-slim-bookworm AS build
ARG EXTRAS=batch
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY SuperResolution3D/Logic/superres3d SuperResolution3D/Logic/superres3d
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[${EXTRAS}]"

FROM python:3.12-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl \
    && useradd --uid 1000 --create-home superres3d
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 1000
WORKDIR /tmp
ENTRYPOINT ["superres3d-bids"]
