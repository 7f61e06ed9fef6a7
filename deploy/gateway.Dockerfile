# The gateway with the web app, for compose.yaml and kubernetes/. Build it in the repository's root:
#
#   docker build -f deploy/gateway.Dockerfile -t riffusion-gateway .
#
# The model's image comes from scripts/image_context.sh.
FROM node:22-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci
COPY web ./
RUN npx vite build

FROM python:3.12-slim
COPY requirements-gateway.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
COPY packages /opt/riffusion/packages
COPY data/seed_images /opt/riffusion/data/seed_images
COPY data/masks /opt/riffusion/data/masks
COPY --from=web /web/dist /opt/riffusion/web
RUN python -m compileall -q /opt/riffusion/packages
ENV PYTHONPATH=/opt/riffusion/packages PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /opt/riffusion
USER 60000:60000
EXPOSE 3013
ENTRYPOINT ["python", "-m", "riffusion", "serve", "--host", "0.0.0.0", "--gateway-port", "3013", "--app-dir", "/opt/riffusion/web", "--log-format", "json"]
CMD ["--endpoint", "http://riffusion-model:8080"]
