package embedmq_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/embedmq"
	"github.com/go-msha/msha/embedmq/contract"
	"github.com/go-msha/msha/internal/remoting"
)

// certificate makes a server's configuration and that of a client that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// accounts are the contract's as the embedded cluster knows them, which has no right GET.
func accounts() (all []embedmq.Account) {
	rights := func(names map[string]string) map[string]embedmq.Right {
		out := map[string]embedmq.Right{}
		for name, s := range names {
			out[name] = embedmq.ParseRight(s)
		}
		return out
	}
	for _, a := range contract.Accounts() {
		all = append(all, embedmq.Account{AccessKey: a.AccessKey, SecretKey: a.SecretKey, Admin: a.Admin, Topics: rights(a.Topics), Groups: rights(a.Groups)})
	}
	return all
}

// All scenarios once more, by an administrator and over TLS, then those that access control is about.
func TestContractWithAccessControl(t *testing.T) {
	const lockTime = 2 * time.Second
	server, client := certificate(t)
	for create, scenarios := range map[bool][]contract.Scenario{true: contract.Protocol(), false: contract.AccessProtocol()} {
		c, err := embedmq.Start(&embedmq.Options{Accounts: accounts(), TLS: server, AutoCreateTopics: &create, DelayLevels: contract.DelayLevels, LockExpiry: lockTime, PropertyFilter: create})
		require.NoError(t, err)
		defer c.Close()
		contract.Run(t, contract.Target{
			NameServer:  c.NameServer(),
			Broker:      name,
			Addr:        func() string { return c.BrokerAddr(name) },
			Version:     contract.Embedded,
			LockTime:    lockTime,
			Kill:        func() error { return c.Kill(name) },
			Restart:     func() error { return c.Restart(name, embedmq.KeepAll) },
			Credentials: contract.Accounts()[0].Credentials,
			TLS:         client,
		}, scenarios...)
	}
}

func TestPlainTCPAndTLSDoNotMix(t *testing.T) {
	server, trusting := certificate(t)
	secure, err := embedmq.Start(&embedmq.Options{TLS: server})
	require.NoError(t, err)
	defer secure.Close()
	brokers := func(c *embedmq.Cluster, o *remoting.Options) error {
		o.Logger = slog.New(slog.DiscardHandler)
		client := remoting.NewClient(o)
		defer client.Close()
		_, err := remoting.NewCluster([]string{c.NameServer()}, client).Brokers(t.Context())
		return err
	}
	require.NoError(t, brokers(secure, &remoting.Options{TLS: trusting}))
	require.ErrorIs(t, brokers(secure, &remoting.Options{}), remoting.ErrDropped)
	require.ErrorContains(t, brokers(secure, &remoting.Options{TLS: &tls.Config{}}), "certificate signed by unknown authority")
	plain := start(t, nil)
	require.ErrorContains(t, brokers(plain.Cluster, &remoting.Options{TLS: trusting}), "does the server speak TLS?")
}

func TestAccountsAreChecked(t *testing.T) {
	_, err := embedmq.Start(&embedmq.Options{Accounts: []embedmq.Account{{AccessKey: "a", SecretKey: "s"}, {AccessKey: "a", SecretKey: "s"}, {AccessKey: "b"}}, TLS: &tls.Config{}})
	require.ErrorIs(t, err, msha.ErrInvalid)
	for _, part := range []string{`account "a"`, `account "b"`, "TLS without a certificate"} {
		require.ErrorContains(t, err, part)
	}
}

func TestDefaultRights(t *testing.T) {
	admin, app := msha.Credentials{AccessKey: "admin", SecretKey: "s"}, msha.Credentials{AccessKey: "app", SecretKey: "s"}
	f := startAs(t, &embedmq.Options{Accounts: []embedmq.Account{
		{AccessKey: "admin", SecretKey: "s", Admin: true},
		{AccessKey: "app", SecretKey: "s", Topics: map[string]embedmq.Right{"*": embedmq.Pub | embedmq.Sub, "closed": embedmq.Deny}, Groups: map[string]embedmq.Right{"*": embedmq.Sub}},
	}}, admin)
	open, closed := f.queue("open"), f.queue("closed")
	client := remoting.NewClient(&remoting.Options{Logger: slog.New(slog.DiscardHandler), Credentials: app})
	defer client.Close()
	f.mq = remoting.NewCluster([]string{f.NameServer()}, client)
	f.put(open, 0, 2)
	require.Equal(t, []string{"m0", "m1"}, f.bodies(open))
	require.ErrorIs(t, f.send(closed, "x"), msha.ErrDenied)
	_, err := f.mq.MaxOffset(f.ctx, closed)
	require.ErrorIs(t, err, msha.ErrDenied)
}
