# MUNet on CPUs, with video files and figures:
#   docker build -t munet_jax .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" munet_jax segment clip.mp4 --mask first.png --out results/clip
FROM python:3.11-slim
WORKDIR /opt/munet_jax
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY munet_jax munet_jax
RUN pip install --no-cache-dir -c constraints.txt '.[report,video]'
# Any user may run it (65534 is nobody); what libraries keep goes where everybody may write.
ENV HOME=/tmp
USER 65534
WORKDIR /data
ENTRYPOINT ["munet"]
CMD ["--help"]
