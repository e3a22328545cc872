# One image for API, worker and page.   docker build -t finetune30 .
FROM python:3.12-slim

RUN useradd --create-home finetune30 && mkdir /data && chown finetune30 /data
WORKDIR /app
COPY requirements.txt pyproject.toml setup.py README.md LICENSE ./
COPY config ./config
COPY src ./src
RUN pip install --no-cache-dir -r requirements.txt && pip install --no-cache-dir --no-deps .

USER finetune30
ENV FT30_RESULTS_FOLDER=/data/results FT30_DATA_FOLDER=/data/data_store FT30_SUBMITTED_FOLDER=/data/submitted
VOLUME /data
ENTRYPOINT ["python", "-m", "finetune30"]
CMD ["--help"]
