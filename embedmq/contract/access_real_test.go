//go:build real

package contract_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha/embedmq/contract"
	"github.com/go-msha/msha/internal/realmq"
)

// certificate makes the files of a server and the configuration of a client that trusts it.
func certificate(t *testing.T) (certFile, keyFile string, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "contract"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
		return file
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret), &tls.Config{RootCAs: pool}
}

func TestAccessOnRealServers(t *testing.T) {
	for _, version := range realmq.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var accounts []realmq.Account
			for _, a := range contract.Accounts() {
				accounts = append(accounts, realmq.Account{AccessKey: a.AccessKey, SecretKey: a.SecretKey, Admin: a.Admin, Topics: a.Topics, Groups: a.Groups})
			}
			no := false
			cert, key, client := certificate(t)
			c := realmq.New(t, &realmq.Options{Version: version, DelayLevels: contract.DelayLevels, AutoCreateTopics: &no,
				Accounts: accounts, CertFile: cert, KeyFile: key, Config: map[string]string{"enablePropertyFilter": "false"}})
			contract.Run(t, contract.Target{
				NameServer:  c.NameServer(),
				Broker:      "broker-a",
				Addr:        func() string { return c.Addr("broker-a") },
				Version:     version,
				Credentials: contract.Accounts()[0].Credentials,
				TLS:         client,
			}, contract.Access()...)
		})
	}
}
