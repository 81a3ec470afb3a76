# lungseg3d in a container. Research use only.
#
#   docker build -t lungseg3d .
#   docker build -t lungseg3d:cuda --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126 .
#   docker run --rm --network none --user "$(id -u):$(id -g)" \
#       -v "$HOME/ct:/ct:ro" -v "$PWD/results:/results" lungseg3d segment /ct/series-folder --out /results
#
# With a GPU: the cuda image and `docker run --gpus all ...`.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/lungseg3d
ENV PATH=/opt/lungseg3d/bin:$PATH
WORKDIR /src
# PyTorch first and alone: its range is read from pyproject.toml, and code changes keep this layer.
COPY pyproject.toml ./
RUN python -c 'import tomllib; print(*(d for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if d.startswith("torch>")))' > torch.txt \
    && pip install --no-cache-dir --index-url "${TORCH_INDEX_URL}" -r torch.txt
COPY README.md LICENSE ./
COPY lungseg3d ./lungseg3d
COPY bundles ./bundles
COPY data_manifests ./data_manifests
RUN pip install --no-cache-dir .

FROM python:${PYTHON_VERSION}-slim
COPY --from=build /opt/lungseg3d /opt/lungseg3d
RUN useradd --create-home --uid 1000 lungseg3d
# HOME in /tmp: `--user` may name a number that has no home, and the libraries keep caches there. They ask for the
# user's name, too, which such a number has not.
ENV PATH=/opt/lungseg3d/bin:$PATH HOME=/tmp LOGNAME=lungseg3d MPLCONFIGDIR=/tmp/matplotlib MLFLOW_DISABLE_TELEMETRY=true
USER lungseg3d
WORKDIR /tmp
ENTRYPOINT ["lungseg3d"]
CMD ["--help"]
