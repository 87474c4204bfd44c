package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/go-msha/msha"
)

// account is one entry of the credentials file.
type account struct {
	AccessKey     string `yaml:"access-key"`
	SecretKey     string `yaml:"secret-key"`
	SecurityToken string `yaml:"security-token"`
	TLS           *struct {
		CA         string `yaml:"ca"` // PEM file; empty: the system's
		Cert       string `yaml:"cert"`
		Key        string `yaml:"key"`
		ServerName string `yaml:"server-name"` // in the certificates of all brokers; empty: the host of each
	} `yaml:"tls"`
}

// credentials are the accounts of a file, by the reference in the unit document or the unit's name. The file is read again when it changes.
type credentials struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	changed time.Time
	size    int64
	failing bool
	access  map[string]msha.Access
}

// openCredentials reads the file; without one there is no account and no TLS.
func openCredentials(path string, log *slog.Logger) (msha.AccessFunc, error) {
	if path == "" {
		return nil, nil
	}
	c := &credentials{path: path, log: log}
	info, err := os.Stat(path)
	if err == nil {
		err = c.read(info)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials %s: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		log.Warn("others may read the credentials: chmod 600 is enough", "file", path)
	}
	return c.find, nil
}

// find is the access to a unit's cluster. A changed file that cannot be used is reported, and what was read before counts on.
func (c *credentials) find(_ context.Context, u msha.UnitInfo) (msha.Access, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.path)
	if err == nil && (!info.ModTime().Equal(c.changed) || info.Size() != c.size) {
		err = c.read(info)
		if err == nil {
			c.log.Info("credentials read again", "file", c.path)
		}
	}
	if err != nil && !c.failing {
		c.log.Error("credentials not read again, the old ones count on", "file", c.path, "error", err)
	}
	c.failing = err != nil
	for _, name := range []string{u.Credentials, u.Name} {
		if a, ok := c.access[name]; ok && name != "" {
			return a, nil
		}
	}
	if u.Credentials != "" {
		return msha.Access{}, fmt.Errorf("%w: no entry %q or %q in %s", msha.ErrNotFound, u.Credentials, u.Name, c.path)
	}
	return msha.Access{}, nil
}

func (c *credentials) read(info fs.FileInfo) error {
	c.changed, c.size = info.ModTime(), info.Size()
	text, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	access, err := parseCredentials(text)
	if err == nil {
		c.access = access
	}
	return err
}

func parseCredentials(text []byte) (map[string]msha.Access, error) {
	entries := map[string]account{}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	out := map[string]msha.Access{}
	for name, e := range entries {
		if (e.AccessKey == "") != (e.SecretKey == "") {
			return nil, fmt.Errorf("%s: access-key and secret-key belong together", name)
		}
		a := msha.Access{Credentials: msha.Credentials{AccessKey: e.AccessKey, SecretKey: e.SecretKey, SecurityToken: e.SecurityToken}}
		if e.TLS != nil {
			a.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.TLS.ServerName}
			if err := loadPEM(a.TLS, e.TLS.CA, e.TLS.Cert, e.TLS.Key); err != nil {
				return nil, fmt.Errorf("%s: tls: %w", name, err)
			}
		}
		out[name] = a
	}
	return out, nil
}

func loadPEM(c *tls.Config, ca, cert, key string) error {
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no PEM certificate", ca)
		}
	}
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return err
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}
