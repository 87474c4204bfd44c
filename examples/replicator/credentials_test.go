package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/internal/logtest"
)

func TestCredentialsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.yaml")
	write := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Duration(len(text))*time.Second)))
	}
	write("vault-1: {access-key: a, secret-key: s1}\nunit-2: {access-key: b, secret-key: s2, security-token: t, tls: {server-name: brokers}}\n")
	var log logtest.Log
	access, err := openCredentials(path, log.Logger())
	require.NoError(t, err)
	find := func(u msha.UnitInfo) msha.Access {
		t.Helper()
		a, err := access(t.Context(), u)
		require.NoError(t, err)
		return a
	}
	require.Equal(t, msha.Credentials{AccessKey: "a", SecretKey: "s1"}, find(msha.UnitInfo{Name: "unit-1", Credentials: "vault-1"}).Credentials)
	two := find(msha.UnitInfo{Name: "unit-2"})
	require.Equal(t, msha.Credentials{AccessKey: "b", SecretKey: "s2", SecurityToken: "t"}, two.Credentials)
	require.Equal(t, "brokers", two.TLS.ServerName)
	require.Same(t, two.TLS, find(msha.UnitInfo{Name: "unit-2"}).TLS, "the same until the file changes")
	require.Equal(t, msha.Access{}, find(msha.UnitInfo{Name: "unit-3"}))
	_, err = access(t.Context(), msha.UnitInfo{Name: "unit-3", Credentials: "vault-3"})
	require.ErrorIs(t, err, msha.ErrNotFound)
	require.ErrorContains(t, err, `no entry "vault-3" or "unit-3"`)

	write("vault-1: {access-key: a, secret-key: rotated}\n")
	require.Equal(t, "rotated", find(msha.UnitInfo{Name: "unit-1", Credentials: "vault-1"}).Credentials.SecretKey)
	write("vault-1: {access-key: a, secret-kye: typo}\n")
	for range 3 {
		require.Equal(t, "rotated", find(msha.UnitInfo{Name: "unit-1", Credentials: "vault-1"}).Credentials.SecretKey, "the old ones count on")
	}
	require.Equal(t, 1, log.Count("credentials not read again"))
	require.NotContains(t, log.String(), "s1")

	require.NoError(t, os.Chmod(path, 0o644))
	_, err = openCredentials(path, log.Logger())
	require.ErrorContains(t, err, "secret-kye")
	write("")
	_, err = openCredentials(path, log.Logger())
	require.NoError(t, err)
	require.True(t, log.Contains("chmod 600"))
	_, err = openCredentials(path+".none", log.Logger())
	require.ErrorContains(t, err, "no such file")
	none, err := openCredentials("", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestCredentialsAreChecked(t *testing.T) {
	for text, says := range map[string]string{
		"u: {access-key: a}":                                 "belong together",
		"u: {tls: {ca: /no/such/file}}":                      "no such file",
		"u: {tls: {cert: /no/such/file, key: /no/such/key}}": "no such file",
		"u: [a]": "unmarshal",
		"{":      "yaml",
	} {
		_, err := parseCredentials([]byte(text))
		require.ErrorContains(t, err, says, text)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o600))
	_, err := parseCredentials([]byte("u: {tls: {ca: " + path + "}}"))
	require.ErrorContains(t, err, "holds no PEM certificate")
}
