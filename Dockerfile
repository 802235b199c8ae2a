# Build arguments: where Go comes from, and what the result stands on.
ARG BUILDER=golang:1.26
ARG BASE=scratch

FROM ${BUILDER} AS build
# Made here, as scratch cannot: where the CA is published and kept, for volumes to begin with.
WORKDIR /out/run/trust
WORKDIR /out/run/ca
WORKDIR /src
COPY . .
# No shell is needed, so that any root file system with Go in it will do.
ENV CGO_ENABLED=0
RUN ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/attache", "./cmd/attache"]

FROM ${BASE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/attache /attache
COPY --from=build --chown=65532:65532 /out/run /run/attache
# A number, so that Kubernetes' runAsNonRoot can be sure.
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s CMD ["/attache", "healthcheck", "--config", "/etc/attache/attache.yaml"]
ENTRYPOINT ["/attache"]
CMD ["serve", "--config", "/etc/attache/attache.yaml"]
