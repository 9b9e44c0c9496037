# Built in two stages: the first has the tools, the second only the interpreter and what the service needs to run.
FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY .ci/lock.py .ci/
RUN python .ci/lock.py > runtime.txt \
 && python .ci/lock.py build > build.txt \
 && python -m venv /opt/wecom-sync \
 && /opt/wecom-sync/bin/pip install --no-cache-dir --require-hashes -r runtime.txt \
 && pip install --no-cache-dir --require-hashes -r build.txt
COPY README.md LICENSE ./
COPY alembic alembic
COPY app app
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w wheels . \
 && /opt/wecom-sync/bin/pip install --no-cache-dir --no-deps --no-index wheels/*.whl \
 && /opt/wecom-sync/bin/pip uninstall --yes pip

FROM python:3.13-slim
# The number, too, is fixed: it owns the files in the volume.
RUN useradd --system --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin wecom-sync \
 && install --directory --owner wecom-sync --group wecom-sync --mode 0700 /data
COPY --from=build /opt/wecom-sync /opt/wecom-sync
ENV PATH=/opt/wecom-sync/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    WECOM_SYNC_DATA_DIR=/data \
    WECOM_SYNC_HOST=0.0.0.0 \
    WECOM_SYNC_PORT=8000 \
    WECOM_SYNC_LOG_FORMAT=json
USER wecom-sync
WORKDIR /data
VOLUME /data
EXPOSE 8000
# A proxy in the environment is for the way out, not for asking ourselves.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s \
  CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['WECOM_SYNC_PORT'] + '/healthz', timeout=4)"]
CMD ["wecom-sync", "serve"]
