# Every target runs from the repository's root and says what it runs. `make test`
# is the whole of it: it installs what the tests need below .tools, runs every
# step even when one fails, and ends with what passed and failed.

GO       ?= go
FUZZTIME ?= 3s
OUT      := test/out
DATA     ?= ../shared/data
COUNTS   := $(OUT)/counts

STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOSEC       := $(GO) run github.com/securego/gosec/v2/cmd/gosec@v2.22.5
TALLY       := $(GO) run ./test/real/tally -counts $(COUNTS)

# G115: conversions of lengths and counts that were bounded before.
# G304: files that the operator's config or command line names.
# G407: this release takes nonces that crypto/rand filled in place for fixed ones.
GOSEC_FLAGS := -quiet -severity medium -confidence medium -exclude=G115,G304,G407 -exclude-dir=test

STEPS := tools format vet staticcheck golangci gosec unit cross fuzz conformance clients real idp

.PHONY: build test lint bench figures clean steps $(STEPS)

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o munjigi ./cmd/munjigi

test:
	@mkdir -p $(OUT) && rm -f $(COUNTS)
	@status=0; for step in $(STEPS); do \
	  echo "== make $$step"; \
	  $(MAKE) --no-print-directory $$step || { status=1; echo "== make $$step FAILED"; }; \
	done; sh test/real/summary.sh $(COUNTS) "$(STEPS)" && exit $$status

lint: format vet staticcheck golangci gosec

# What the machine itself must have: a C compiler for the race detector, and
# npm. Debian's packages are used only where one of them is missing.
tools: | $(OUT)
	@command -v cc >/dev/null || { echo "no C compiler: apt-get install gcc"; apt-get update -q && apt-get install -q -y gcc libc6-dev; }
	@command -v npm >/dev/null || { echo "no npm: apt-get install npm"; apt-get update -q && apt-get install -q -y npm; }
	@command -v chromedriver >/dev/null || { echo "no Chromium: apt-get install chromium chromium-driver"; apt-get update -q && apt-get install -q -y --no-install-recommends chromium chromium-driver fonts-noto-cjk; }
	$(GO) mod download
	$(GO) run ./test/conformance -install
	@echo tools 1 0 >>$(COUNTS)

format: | $(OUT)
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$bad" ] || { echo "gofmt -w these:"; echo "$$bad"; exit 1; }
	@echo format 1 0 >>$(COUNTS)

vet: | $(OUT)
	$(GO) vet ./...
	$(GO) vet -tags real ./...
	@echo vet 1 0 >>$(COUNTS)

staticcheck: | $(OUT)
	$(STATICCHECK) -tags real ./...
	@echo staticcheck 1 0 >>$(COUNTS)

golangci: | $(OUT)
	$(GOLANGCI) run ./...
	@echo golangci 1 0 >>$(COUNTS)

gosec: | $(OUT)
	$(GOSEC) $(GOSEC_FLAGS) ./...
	@echo gosec 1 0 >>$(COUNTS)

unit: | $(OUT)
	$(GO) test -race -json ./... | $(TALLY) -name unit

cross: | $(OUT)
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build ./..."; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build ./... || exit 1; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null ./cmd/munjigi || exit 1; \
	done; done
	@echo cross 6 0 >>$(COUNTS)

fuzz: | $(OUT)
	test/real/fuzz.sh $(FUZZTIME) $(COUNTS)

conformance: | $(OUT)
	$(GO) run ./test/conformance -counts $(COUNTS)
	$(GO) run ./test/conformance/login -counts $(COUNTS)

clients: | $(OUT)
	$(GO) run ./test/conformance/person -counts $(COUNTS)

real: | $(OUT)
	$(GO) test -tags real -count=1 -timeout 20m -json ./test/real | $(TALLY) -name real

idp: | $(OUT)
	sh test/idp/keycloak.sh install .tools
	sh test/idp/glewlwyd.sh install
	$(GO) test -tags real -count=1 -timeout 20m -json ./test/idp | $(TALLY) -name idp

# The pictures in docs/pages.md are those that the tests of the pages take.
pictures: | $(OUT)
	rm -rf $(OUT)/pictures && mkdir -p $(OUT)/pictures
	PICTURES=$(CURDIR)/$(OUT)/pictures $(GO) test -tags real -count=1 -run TestBrowser ./test/real
	rm -f docs/img/pages/*.png
	@for f in $$(grep -o 'img/pages/[a-z-]*\.png' docs/pages.md | sort -u); do cp $(OUT)/pictures/$$(basename $$f) docs/$$f || exit 1; done
	$(GO) test -tags real -count=1 -run TestPicturesOfPages ./test/real

steps:
	@echo $(STEPS)

bench:
	$(GO) run ./test/bench $(ARGS)
	$(GO) run ./test/definitions
	$(GO) test -run '^$$' -bench . ./internal/base/normalize ./internal/base/ngram ./internal/guard/injection \
		./internal/authz/cedar ./internal/guard/schema ./internal/audit/index

# How well the injection guard's models do on sources that training left out;
# DATA is the folder of their rows (docs/injection.md).
figures:
	$(GO) run ./test/train -data $(DATA) -report
	$(GO) run ./test/definitions -data $(DATA)

clean:
	rm -rf munjigi dist $(OUT)

$(OUT):
	@mkdir -p $(OUT)
