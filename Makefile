# make run    the whole thing on this machine, with a stand-in for the mail server that fails
# make test   installs what the tests need (Debian, root) and runs every check
# make bench  Restante beside Postfix, in one run
# make lint   formatting, vet, staticcheck, go.mod

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSITYGW   := github.com/versity/versitygw/cmd/versitygw@v1.8.0
PEBBLE      := github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1
PACKAGES    := gcc libc6-dev postfix swaks zstd openssl chromium dovecot-imapd poppler-utils \
               slapd ldap-utils rspamd clamav-daemon postfix-policyd-spf-python nmap
BIN         := $(shell go env GOPATH)/bin
export PATH := $(BIN):$(PATH)

# Packages with tests that -short leaves out, since they drive a browser or take long: those run without the race detector.
# Of all others one run, under it, is enough. The longest first, so that both cores end at the same time.
SCENARIOS   := ./cmd/internal/e2e
HEAVY       := $(shell grep -rlE --include='*_test.go' 'testing[.]Short|[.]ForTest' cmd relay spool dns webmail | xargs -n1 dirname | sort -u | sed 's,^,./,')
HEAVY       := $(filter-out $(SCENARIOS),$(HEAVY))
HEAVY       := $(filter ./webmail ./relay/replay,$(HEAVY)) $(filter-out ./webmail ./relay/replay,$(HEAVY))
LONG        := ./cmd/internal/cli ./spool
LIGHT       := $(shell go list -f '{{.Dir}}' ./... | sed 's,^$(CURDIR),.,')
LIGHT       := $(LONG) $(filter-out $(LONG) $(HEAVY) $(SCENARIOS),$(LIGHT))

.PHONY: run build test bench lint tools

run:
	go run ./cmd/restante serve --dev

build:
	CGO_ENABLED=0 go build -trimpath -o restante ./cmd/restante

test: tools lint
	IN_MEMORY=1 .ci/gotest -race -timeout=15m $(LIGHT)
	IN_MEMORY=1 .ci/gotest -race -short -timeout=15m $(HEAVY)
	IN_MEMORY=1 .ci/gotest -timeout=15m $(HEAVY)
	.ci/gotest -timeout=15m $(SCENARIOS)

bench: tools
	go run ./cmd/mxbench compare
	go test ./cmd/internal/app ./relay/policy/scan -run '^$$' -bench 'Filters|Scan' # what rspamd and clamd cost

lint: $(BIN)/staticcheck
	@unformatted=$$(gofmt -l cmd relay spool dns webmail 2>/dev/null); test -z "$$unformatted" || { echo "gofmt -w is due on:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	staticcheck ./...
	go mod tidy -diff

# What the tests start for real. A package is asked for by what it installs, so that nothing is fetched twice.
tools: $(BIN)/staticcheck $(BIN)/versitygw $(BIN)/pebble
	@missing=; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing || \
		{ echo "make test needs$$missing: run it as root on Debian, or install them"; exit 1; }; \
	fi

$(BIN)/staticcheck:
	go install $(STATICCHECK)

$(BIN)/versitygw:
	go install $(VERSITYGW)

$(BIN)/pebble:
	go install $(PEBBLE)
