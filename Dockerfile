# Build arguments: where Go comes from, and what the result stands on.
ARG BUILDER=golang:1.26
ARG BASE=scratch

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
# No shell is needed, so that any root file system with Go in it will do.
ENV CGO_ENABLED=0
RUN ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", "/out/attache", "./cmd/attache"]

FROM ${BASE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/attache /attache
# A number, so that Kubernetes' runAsNonRoot can be sure.
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s CMD ["/attache", "healthcheck", "--config", "/etc/attache/attache.yaml"]
ENTRYPOINT ["/attache"]
CMD ["serve", "--config", "/etc/attache/attache.yaml"]
