# Real servers and other downloads are kept here, outside the tree.
export MSHA_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/msha

# Where Rust's toolchain is installed by default; a new shell may not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SEEDS ?= 20000
RNACOS := 0.8.8

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: $(if $(filter etcd redis,$(STORE)),deps) ## the SMS gateway in two units: switch, take over, switch back; STORE=memory|etcd|redis|nacos
	@go run ./examples/smsgateway $(if $(STORE),-store $(STORE))

.PHONY: demo-real
demo-real: deps ## the same on two real RocketMQ clusters that it fetches, starts and stops
	@go run ./examples/smsgateway -real $(if $(STORE),-store $(STORE))

.PHONY: test
test: deps fetch check ## everything: needs Debian (or java, mvn, etcd and redis in PATH), installs and fetches what is missing
	go test -race -p 2 -tags real -timeout 40m -skip '^TestEveryPhase$$' ./... # that one has short deadlines
	go test -tags real -timeout 20m -run '^TestEveryPhase$$' ./internal/chaos
	go test -C examples/replicator -race -tags real ./...
	go test ./embedmq/contract ./internal/sim
	go test -tags real -run ResidentMemory -v ./replicate
	go test -run 'TestConformance$$' ./metastore/nacos
	go test -tags real -run Cost -parallel 3 -v ./metastore/open

.PHONY: test-embedded
test-embedded: vet ## what needs nothing but Go
	go test -race ./...
	go test -C examples/replicator -race ./...
	go test ./embedmq/contract

.PHONY: test-nacos
test-nacos: rnacos ## the Nacos metastore on a real r-nacos server: needs Rust's cargo the first time
	go test -race -tags 'real nacos' -run Rnacos ./metastore/nacos ./internal/realstore
	go test -race -tags 'real nacos' -run UnsafeMetastore ./internal/e2e

.PHONY: rnacos
rnacos: # into the cache, once; 5 to 20 minutes
	@[ -x "$(MSHA_CACHE)/rnacos/bin/rnacos" ] || { \
		command -v cargo >/dev/null || { echo "r-nacos has to be built and cargo is not in PATH: install Rust's toolchain," \
			"see https://rustup.rs (cargo of Debian 12 is too old)"; exit 1; }; \
		cargo install rnacos --version $(RNACOS) --locked --root "$(MSHA_CACHE)/rnacos"; }

.PHONY: vet
vet: ## format and vet
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags 'real nacos' ./...
	go vet -C examples/replicator -tags real ./...

.PHONY: check
check: vet ## the same and staticcheck
	cd tools && go build -o "$(MSHA_CACHE)/staticcheck" honnef.co/go/tools/cmd/staticcheck
	"$(MSHA_CACHE)/staticcheck" -tags 'real nacos' ./...
	cd examples/replicator && "$(MSHA_CACHE)/staticcheck" -tags real ./...

.PHONY: deps
deps: ## install a JDK, Maven, etcd and Redis where they are missing (Debian)
	@want=; \
	command -v java >/dev/null || want="$$want openjdk-17-jre-headless"; \
	command -v mvn >/dev/null || want="$$want maven"; \
	command -v etcd >/dev/null || want="$$want etcd-server"; \
	command -v redis-server >/dev/null || want="$$want redis-server"; \
	command -v redis-cli >/dev/null || want="$$want redis-tools"; \
	[ -n "$$want" ] || exit 0; \
	command -v apt-get >/dev/null || { echo "missing, by the names of their Debian packages:$$want"; exit 1; }; \
	$(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$want || exit 1; \
	for package in $$want; do case $$package in \
		etcd-server) service=etcd;; redis-server) service=redis-server;; *) continue;; \
		esac; \
		echo "stopping the service $$service that came with the package: tests start their own"; \
		$(SUDO) service $$service stop || true; \
		! command -v systemctl >/dev/null || $(SUDO) systemctl disable $$service || true; \
	done

.PHONY: fetch
fetch: deps ## fetch the real servers into the cache
	go run ./internal/realmq/fetch

.PHONY: soak
soak: deps ## many more seeds of the simulation, longer outages, copying under faults on both versions of RocketMQ
	go test ./internal/sim -timeout 2h -sim.seeds $(SEEDS)
	go test -race -tags real -timeout 30m -run MetastoreDown ./internal/e2e -parallel 3 -e2e.outage 60s
	go test -tags real -timeout 1h -run ResidentMemory -v ./replicate -replicate.backlog 10737418240
	go run ./bench/switch -only backlog -backlog 1000000
	for version in 5.4.0 4.9.7; do \
		go test -race -tags real -timeout 30m -run 'Chaos|LostTail|Network' ./internal/copychaos -v -parallel 1 -copychaos.version $$version \
			-copychaos.messages 200000 -copychaos.seconds 120 -copychaos.freeze 40s -copychaos.lease 15s -copychaos.partition 60s || exit 1; \
	done

.PHONY: chaos
chaos: deps fetch ## faults of every kind on real clusters under load, then messages are counted; DURATION=15m UNITS=3 SEED=…
	go test -tags real -count=1 -timeout 20m -run '^TestEveryPhase$$' -v ./internal/chaos
	go test -tags real -count=1 -timeout 3h -run 'TestRound$$' -v ./internal/chaos -chaos.duration $(or $(DURATION),15m) -chaos.units $(or $(UNITS),2) \
		-chaos.second -chaos.members 3 -chaos.rate 300 -chaos.every 2500ms -chaos.freeze 40s -chaos.gate 30s -chaos.ebb 0s -chaos.seed $(or $(SEED),0)

.PHONY: compare
compare: $(if $(EMBEDDED),,deps fetch) ## one script and the same kills against a hand-written loop and this library; QUICK=1 EMBEDDED=1
	go run ./bench/compare $(if $(QUICK),-quick) $(if $(EMBEDDED),-embedded) $(if $(QUICK)$(EMBEDDED),,-out bench/compare.md)

.PHONY: bench
bench: deps fetch ## measure, into bench/*.md; BENCH=copy one of them, QUICK=1 in less than four minutes each
	@for b in $(or $(BENCH),$(notdir $(patsubst %/,%,$(wildcard bench/*/)))); do \
		go run ./bench/$$b $(if $(QUICK),-quick) -out bench/$$b.md || exit 1; \
	done

.PHONY: fuzz
fuzz: ## each fuzz target for 20 s
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$f"; go test -C $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime 20s . || exit 1; \
		done; \
	done
