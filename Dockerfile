# The TensorFlow image with the server in an environment of its own, run as a user without rights.
ARG TAG=2.21.0
FROM tensorflow/tensorflow:${TAG}

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=5000

WORKDIR /app

# The image's own TensorFlow is used, not installed again; its distutils-installed blinker cannot be replaced in place,
# so Flask and the rest go beside it.
COPY requirements.txt known-holes.txt ./
RUN python3 -m venv --system-site-packages /opt/venv \
    && pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt

COPY app.py wsgi.py gunicorn.conf.py ./
COPY serving serving
RUN python -m compileall -q app.py wsgi.py serving
COPY model model

USER 10001:10001
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import os, ssl, urllib.request as web; tls = os.environ.get('SERVING_TLS_CERT_FILE'); \
web.urlopen(f\"http{'s' if tls else ''}://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=4, \
context=ssl._create_unverified_context() if tls else None)"]
# In a container it has to listen on every address, so it starts only with SERVING_KEYS_FILE or client certificates, or
# with SERVING_ALLOW_ANONYMOUS=true: see docs/security.md.
CMD ["python", "-m", "serving", "serve"]
