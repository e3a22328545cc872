# One image for API, worker and page.   docker build -t finetune30 .
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
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl

USER finetune30
ENV FT30_RESULTS_FOLDER=/data/results FT30_DATA_FOLDER=/data/data_store FT30_SUBMITTED_FOLDER=/data/submitted
VOLUME /data
ENTRYPOINT ["python", "-m", "finetune30"]
CMD ["--help"]
