# docker build -t restante .
# docker run -p 25:2525 -p 80:8080 -p 443:8443 -v restante:/var/lib/restante -v ./restante.toml:/etc/restante/restante.toml:ro restante
# with, in restante.toml: [webmail] listen = ["0.0.0.0:8443"], redirect_listen = ["0.0.0.0:8080"]; [http] listen = "127.0.0.1:8081"
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /restante ./cmd/restante \
 && mkdir -p /state/var/lib/restante /state/tmp && chmod 1777 /state/tmp

# Nothing but the program, the certificates of the public CAs and the time zones: no shell, no package manager.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A program built with -trimpath knows no Go folder to look in, so it is told.
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/share/zoneinfo.zip
ENV ZONEINFO=/usr/share/zoneinfo.zip
COPY --from=build /restante /usr/bin/restante
COPY --from=build --chown=65532:65532 /state /
USER 65532:65532
VOLUME /var/lib/restante
# Unprivileged ports inside; publish them as 25, 80 and 443. Credentials come by environment or mounted files, never by the image.
EXPOSE 2525 8080 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/restante", "health"]
ENTRYPOINT ["/usr/bin/restante"]
CMD ["serve", "--config", "/etc/restante/restante.toml", "--smtp-listen", "0.0.0.0:2525"]
