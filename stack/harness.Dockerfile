# docker build -f stack/harness.Dockerfile -t harness .

# The harness: the stack's commands, with the servers of nats:latest and mongo:8.
FROM nats:latest AS nats

# mongod, and the libraries of its own system.
FROM mongo:8 AS mongo
RUN mkdir /mongo && cp -L /usr/bin/mongod $(ldd /usr/bin/mongod | grep -o '/[^ )]*') /mongo

FROM python:3.13-slim AS packages
COPY stack/requirements.lock .
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --require-hashes --only-binary :all: --no-binary nkeys --no-compile --target /packages -r requirements.lock

FROM python:3.13-slim
ENV PYTHONPATH=/packages PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC
WORKDIR /app
COPY --from=nats /nats-server /usr/local/bin/nats-server
COPY --from=mongo /mongo /mongo
RUN printf '#!/bin/sh\nexec /mongo/ld-linux-* --library-path /mongo /mongo/mongod "$@"\n' >/usr/local/bin/mongod && \
    chmod 755 /usr/local/bin/mongod
COPY --from=packages /packages /packages
COPY crypto_updates crypto_updates
COPY worker worker
COPY api_stub api_stub
COPY stack stack
RUN python -m compileall -q /packages /app
USER 10001:10001
ARG VERSION=dev
LABEL org.opencontainers.image.title="crypto-updates harness" \
      org.opencontainers.image.description="A NATS server, a MongoDB, a market and faults for tests of an API server" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0 AND SSPL-1.0" \
      org.opencontainers.image.version="$VERSION"
EXPOSE 4270
HEALTHCHECK --interval=2s --timeout=5s --start-period=60s \
    CMD ["bash", "-c", "</dev/tcp/127.0.0.1/4270"]
ENTRYPOINT ["python", "-m", "stack", "harness", "--host", "0.0.0.0"]
CMD ["--port", "4270", "--nats-port", "4271", "--mongo-port", "4272", "--market-port", "4273"]
