# docker build --build-arg VERSION=… --build-arg REVISION="$(git rev-parse HEAD)" --tag dify-exporter .

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements ./requirements
# These lists contain the hash of every file that pip downloads; `make lock` generates them.
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
RUN python -m venv --without-pip /opt/dify-exporter \
    && python -m pip --python /opt/dify-exporter/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --requirement requirements/image.txt \
    && python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/dify-exporter/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --no-index dist/*.whl \
    && cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
        --output-format JSON --output-file /opt/dify-exporter/sbom.cdx.json /opt/dify-exporter/bin/python

FROM python:3.13-slim
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="dify-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the knowledge bases of Dify" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# Nothing is written outside /data (bytecode was compiled above), so the root file system can be read-only.
# The schedule computes in local time, which never jumps only in UTC.
ENV PATH="/opt/dify-exporter/bin:${PATH}" \
    DIFY_EXPORTER_REVISION="${REVISION}" \
    DIFY_EXPORTER_DEFAULT_STATE_PATH=/data/state.db \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TZ=UTC
COPY --from=build /opt/dify-exporter /opt/dify-exporter
# /data is for the state: a new volume inherits its owner from here. No setuid or setgid file may change the user.
RUN install --directory --owner=65532 --group=65532 --mode=700 /data \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
# Numeric, so that Kubernetes can verify that the user is not root.
USER 65532:65532
VOLUME ["/data"]
EXPOSE 9439
STOPSIGNAL SIGTERM
# Checks the default port on loopback, over TLS if enabled. Another listen address requires another check.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-m", "exporter.healthcheck", "--port=9439"]
ENTRYPOINT ["dify-exporter"]
CMD ["run", "--config.file=/etc/dify-exporter/config.yaml"]
