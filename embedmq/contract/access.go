package contract

import (
	"github.com/go-msha/msha"
)

// Names that the accounts' rights speak of.
const (
	orders       = "acl_orders"           // a home topic
	replica      = "acl_orders-from-east" // copies
	channel      = "acl_channel"          // a consumer group
	copier       = "MSHA_REPLICATOR"      // the group of the copying process
	neverCreated = "acl_missing"
)

// Account is one that a cluster with access control must know before the scenarios of Access begin.
type Account struct {
	msha.Credentials
	Admin          bool
	Topics, Groups map[string]string // rights by name, "*" for all others: PUB, SUB and, for RocketMQ 5, GET, joined by "|"
}

// Accounts lists them. The first one is the administrator; Target.Credentials is his.
func Accounts() []Account {
	account := func(name string) msha.Credentials {
		return msha.Credentials{AccessKey: "contract-" + name, SecretKey: "hidden-" + name}
	}
	return []Account{
		{Credentials: account("admin"), Admin: true},
		{Credentials: account("producer"), Topics: map[string]string{orders: "PUB", neverCreated: "PUB"}},
		{Credentials: account("consumer"), Topics: map[string]string{orders: "SUB|GET"}, Groups: map[string]string{channel: "SUB"}},
		{Credentials: account("reader"), Topics: map[string]string{orders: "SUB|GET"}, Groups: map[string]string{copier: "SUB"}},
		{Credentials: account("writer"), Topics: map[string]string{replica: "PUB|SUB|GET"}, Groups: map[string]string{copier: "SUB", channel: "SUB|GET"}},
		{Credentials: account("operator"), Topics: map[string]string{"*": "SUB|GET"}, Groups: map[string]string{"*": "SUB"}},
		{Credentials: account("nobody")},
	}
}

// AccessProtocol lists the scenarios of a cluster with access control that knows Accounts and creates no topics by itself.
func AccessProtocol() []Scenario {
	return []Scenario{
		{name: "refused accounts", run: refusedAccounts},
		{name: "missing rights", run: missingRights},
		{name: "rights of a replicator", run: replicatorRights},
		{name: "SQL filters switched off", run: sqlSwitchedOff},
	}
}

// Access adds those with client-go, which need a cluster that takes plain TCP.
func Access() []Scenario {
	all := AccessProtocol()
	if !raceDetector {
		all = append(all, Scenario{name: "client-go with credentials", run: goCredentials})
	}
	return all
}
