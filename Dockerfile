# The sidecar's image: Python, the sidecar and its dependencies, byte code compiled, no pip, no root.
# Any builder: docker buildx build -t sidecar:dev .   (podman build, buildah bud, kaniko)
# The base can be another registry's copy, pinned by digest: --build-arg PYTHON_IMAGE=… PYTHON_TAG=… PYTHON_DIGEST=sha256:…
ARG PYTHON_IMAGE=docker.io/library/python
ARG PYTHON_TAG=3.13-slim-trixie
ARG PYTHON_DIGEST=

FROM ${PYTHON_IMAGE}:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS builder
WORKDIR /src
RUN python -m venv --without-pip /opt/sidecar
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python -m pip --python /opt/sidecar install --no-cache-dir --no-compile --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY sidecar sidecar
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m pip --python /opt/sidecar install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl
# With a read-only root nothing can be compiled later: every start would cost seconds and megabytes. Hash-based and unchecked, so that a
# builder that rewrites file times does not make the byte code stale.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/sidecar/lib

FROM ${PYTHON_IMAGE}:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}}
# The base image comes without the standard library's byte code.
RUN python -m pip uninstall --yes --quiet pip \
 && stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -rf "$stdlib/ensurepip" "$stdlib/idlelib" "$stdlib/turtledemo" \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$stdlib"
COPY --from=builder /opt/sidecar /opt/sidecar
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title=sidecar \
      org.opencontainers.image.description="A Kubernetes sidecar proxy with no control plane" \
      org.opencontainers.image.licenses=Apache-2.0
WORKDIR /
# As in the chart: a number, so that the kubelet can check runAsNonRoot.
USER 65532:65532
EXPOSE 15001 15006 15020 15021
ENTRYPOINT ["sidecar"]
