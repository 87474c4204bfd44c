package realstore_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/internal/child"
	"github.com/go-msha/msha/internal/realstore"
)

func TestMissingServersAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("MSHA_CACHE", t.TempDir())
	for name, start := range map[string]func(context.Context) (*realstore.Server, error){
		"install the Debian package etcd-server, or run 'make deps'":  func(ctx context.Context) (*realstore.Server, error) { return realstore.StartEtcd(ctx, nil) },
		"install the Debian package redis-server, or run 'make deps'": func(ctx context.Context) (*realstore.Server, error) { return realstore.StartSentinel(ctx, nil) },
		"run 'make test-nacos', which builds it":                      func(ctx context.Context) (*realstore.Server, error) { return realstore.StartRnacos(ctx, nil) },
	} {
		_, err := start(t.Context())
		require.ErrorIs(t, err, child.ErrMissing)
		require.ErrorContains(t, err, name)
	}
}

func TestCertificatesOfTheAuthority(t *testing.T) {
	ca, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	stranger, err := realstore.NewCA(t.TempDir())
	require.NoError(t, err)
	certFile, keyFile, err := ca.Issue("server")
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	trusting, err := ca.ClientConfig()
	require.NoError(t, err)
	server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusting.RootCAs}
	require.NoError(t, handshake(server, trusting))
	foreign, err := stranger.ClientConfig()
	require.NoError(t, err)
	require.ErrorContains(t, handshake(server, foreign), "unknown authority")
}

func handshake(server, client *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client = client.Clone()
	client.ServerName = "127.0.0.1"
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).Handshake() }()
	if err := tls.Client(b, client).Handshake(); err != nil {
		b.Close()
		<-done
		return err
	}
	return <-done
}
