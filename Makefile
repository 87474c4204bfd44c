# Real servers and other downloads are kept here, outside the tree.
export MSHA_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/msha

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SEEDS ?= 20000

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: ## the SMS gateway in two units on embedded clusters: switch, take over, switch back
	@go run ./examples/smsgateway

.PHONY: demo-real
demo-real: deps ## the same on two real RocketMQ clusters that it fetches, starts and stops
	@go run ./examples/smsgateway -real

.PHONY: test
test: deps fetch check ## everything: needs Debian (or java and mvn in PATH), installs and fetches what is missing
	go test -race -p 2 -tags real -timeout 20m ./...
	go test ./embedmq/contract ./internal/sim

.PHONY: test-embedded
test-embedded: vet ## what needs nothing but Go
	go test -race ./...
	go test ./embedmq/contract

.PHONY: vet
vet: ## format and vet
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags real ./...

.PHONY: check
check: vet ## the same and staticcheck
	cd tools && go build -o "$(MSHA_CACHE)/staticcheck" honnef.co/go/tools/cmd/staticcheck
	"$(MSHA_CACHE)/staticcheck" -tags real ./...

.PHONY: deps
deps: ## install a JDK and Maven where they are missing (Debian)
	@command -v java >/dev/null && command -v mvn >/dev/null || { \
		command -v apt-get >/dev/null || { echo "java and mvn are needed: install JDK 17 and Maven"; exit 1; }; \
		$(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends openjdk-17-jre-headless maven; }

.PHONY: fetch
fetch: deps ## fetch the real servers into the cache
	go run ./internal/realmq/fetch

.PHONY: soak
soak: ## many more seeds of the simulation
	go test ./internal/sim -timeout 2h -sim.seeds $(SEEDS)

.PHONY: fuzz
fuzz: ## each fuzz target for 20 s
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 20s $$pkg || exit 1; \
		done; \
	done
