# One image for API, worker and page, without CUDA and without what tests need.   docker build -t finetune30 .
# For a worker on NVIDIA GPUs:   docker build --build-arg TORCH=cuda -t finetune30-cuda .   (compose.gpu.yml does that)
# The large image has a compiler, which the packed path's kernels are built with.
FROM python:3.12 AS build
WORKDIR /app
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY config ./config
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
RUN useradd --create-home finetune30 && mkdir /data && chown finetune30 /data
WORKDIR /app
COPY requirements.txt requirements-services.txt ./
COPY scripts/install_torch.sh scripts/
# cpu: PyTorch without CUDA, 200 MB instead of several GB. Every package has a wheel: this image has no compiler.
ARG TORCH=cpu
RUN sh scripts/install_torch.sh python \
    && pip install --no-cache-dir --only-binary=:all: -r requirements.txt -r requirements-services.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

USER finetune30
ENV HF_HOME=/data/huggingface
ENV FT30_RESULTS_FOLDER=/data/results FT30_DATA_FOLDER=/data/data_store FT30_SUBMITTED_FOLDER=/data/submitted
VOLUME /data
ENTRYPOINT ["python", "-m", "finetune30"]
CMD ["--help"]
