package remoting

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
)

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSVerifiesTheServer(t *testing.T) {
	cert, pool := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	require.NoError(t, err)
	serveOn(t, l, echo)
	ctx := testContext(t)
	good := newClient(t, &Options{TLS: &tls.Config{RootCAs: pool}})
	resp, err := good.Call(ctx, l.Addr().String(), NewRequest(codeEcho, nil, []byte("x")))
	require.NoError(t, err)
	require.Equal(t, "x", string(resp.Body))
	_, err = newClient(t, &Options{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}).Call(ctx, l.Addr().String(), NewRequest(codeEcho, nil, nil))
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
}

func TestCloseEndsADial(t *testing.T) {
	addr, accepted := rawServer(t) // accepts, and never answers the handshake
	c, ctx := newClient(t, &Options{TLS: &tls.Config{}, DialTimeout: time.Hour}), testContext(t)
	result := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, addr, NewRequest(codeEcho, nil, nil))
		result <- err
	}()
	conn := <-accepted
	defer conn.Close()
	c.Close()
	require.ErrorIs(t, <-result, msha.ErrClosed)
}
