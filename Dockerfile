# One image for every machine: Python, both distributions of this repository, and (if asked) a model's weights.
# deploy/README.md says how to build and run it, and how the build is proved without a registry.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
# Where torch alone comes from: an index of CPU builds, or of one CUDA version. Empty: pip's usual index.
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/reward-server
ENV PATH=/opt/reward-server/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /src
# Dependencies first: they change least, and a builder that keeps layers need not install them again.
COPY requirements requirements
RUN pip install ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"} "$(grep '^torch==' requirements/serve.txt)" \
    && pip install --requirement requirements/serve.txt
COPY pyproject.toml README.md ./
COPY service service
COPY model_store model_store
COPY training training
COPY reward_client reward_client
RUN pip install --no-deps . \
    && pip install --constraint requirements/serve.txt --constraint requirements/dev.txt ./reward_client \
    && pip check \
    && pip uninstall --yes pip

FROM ${BASE_IMAGE}
COPY --from=build /opt/reward-server /opt/reward-server
COPY deploy/healthcheck.py /opt/reward-server/healthcheck.py
# Weights to bake: a folder under models/ in the build context, and the name under which it is served by default.
ARG MODEL_FOLDER=deploy/no-model
ARG MODEL_NAME=""
# Owned by the user who reads it: training writes weights that only their owner may read.
COPY --chown=10001:10001 ${MODEL_FOLDER} /models/${MODEL_NAME}
# Only /tmp is written to, so that the root file system can be read-only. The user has no entry in /etc/passwd:
# libraries that ask who they are read LOGNAME.
ENV PATH=/opt/reward-server/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LOGNAME=reward \
    HF_HOME=/tmp/huggingface \
    PYTHONDONTWRITEBYTECODE=1 \
    REWARD_SERVER_HOST=0.0.0.0 \
    REWARD_SERVER_MODELS=${MODEL_NAME:+/models/${MODEL_NAME}}
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
# Large models take minutes to load: failures count only after the start period, a first success ends it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s --retries=3 \
    CMD ["python3", "/opt/reward-server/healthcheck.py"]
# Stops with the server's own message unless a key, or --allow-unauthenticated, is given: 0.0.0.0 is no loopback.
ENTRYPOINT ["reward-server", "serve"]
