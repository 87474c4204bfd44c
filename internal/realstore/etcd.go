package realstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-msha/msha/internal/child"
)

// EtcdOptions describe an etcd server. The zero value, and nil, are valid.
type EtcdOptions struct {
	// Password of the user root. Default: no authentication.
	Password string
	// CA makes the server speak TLS with a certificate issued by it. Default: plain.
	CA *CA
	// ClientCerts refuses clients without a certificate of the CA. Default false.
	ClientCerts bool
	// Members of the cluster; 0: one.
	Members int
	// Flags are added to the command line, e.g. --max-request-bytes=1048576.
	Flags []string
}

// StartEtcd starts an etcd and returns once it serves. Addrs are all members'.
func StartEtcd(ctx context.Context, o *EtcdOptions) (*Server, error) {
	var opts EtcdOptions
	if o != nil {
		opts = *o
	}
	path, err := child.Find("etcd", "install the Debian package etcd-server, or run 'make deps'")
	if err != nil {
		return nil, fmt.Errorf("realstore: %w", err)
	}
	s, err := launch(ctx, "etcd", func(s *Server) error { return opts.build(s, path) })
	if err != nil {
		return nil, err
	}
	if opts.Password != "" {
		if err := s.enableAuth(ctx, opts.Password); err != nil {
			s.Stop()
			return nil, fmt.Errorf("realstore: etcd: enable authentication: %w", err)
		}
	}
	return s, nil
}

func (o EtcdOptions) build(s *Server, path string) error {
	members := max(o.Members, 1)
	ports, err := freePorts(2 * members)
	if err != nil {
		return err
	}
	name := func(i int) string {
		if members == 1 {
			return "etcd"
		}
		return "etcd-" + strconv.Itoa(i+1)
	}
	peer := func(i int) string { return fmt.Sprintf("http://%s:%d", loopback, ports[members+i]) }
	var all []string
	for i := range members {
		all = append(all, name(i)+"="+peer(i))
	}
	for i := range members {
		if err := o.add(s, path, name(i), ports[i], peer(i), strings.Join(all, ",")); err != nil {
			return err
		}
	}
	s.entries = s.nodes
	return nil
}

// add adds a member that is healthy once there is a leader.
func (o EtcdOptions) add(s *Server, path, name string, port int, peer, all string) error {
	n, err := s.add(name, port)
	if err != nil {
		return err
	}
	scheme := "http://"
	if o.CA != nil {
		scheme = "https://"
	}
	n.spec.Path = path
	n.spec.Args = []string{
		"--name=" + name, "--data-dir=" + filepath.Join(n.dir, "data"),
		"--listen-client-urls=" + scheme + n.addr, "--advertise-client-urls=" + scheme + n.addr,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=" + all,
		"--unsafe-no-fsync", // what a killed process wrote is kept; only a crash of the machine loses it
		"--logger=zap", "--log-level=warn",
	}
	if o.CA != nil {
		certFile, keyFile, err := o.CA.Issue("etcd")
		if err != nil {
			return err
		}
		if s.tls, err = o.CA.ClientConfig(); err != nil {
			return err
		}
		n.spec.Args = append(n.spec.Args, "--cert-file="+certFile, "--key-file="+keyFile)
		if o.ClientCerts { // the authority's file alone would ask for certificates too
			n.spec.Args = append(n.spec.Args, "--client-cert-auth", "--trusted-ca-file="+o.CA.File)
		}
	}
	n.spec.Args = append(n.spec.Args, o.Flags...)
	n.ready = func(ctx context.Context) bool {
		answer, err := call(ctx, s.tls, http.MethodGet, scheme+n.addr+"/health", nil)
		return err == nil && bytes.Contains(answer, []byte(`"true"`))
	}
	return nil
}

// enableAuth uses the server's JSON gateway.
func (s *Server) enableAuth(ctx context.Context, password string) error {
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	for _, step := range []struct {
		path string
		body map[string]string
	}{
		{"user/add", map[string]string{"name": "root", "password": password}},
		{"role/add", map[string]string{"name": "root"}},
		{"user/grant", map[string]string{"user": "root", "role": "root"}},
		{"enable", map[string]string{}},
	} {
		body, err := json.Marshal(step.body)
		if err != nil {
			return err
		}
		if _, err := call(ctx, s.tls, http.MethodPost, scheme+s.Addr()+"/v3/auth/"+step.path, body); err != nil {
			return err
		}
	}
	return nil
}

// call makes one request on a connection of its own; an answer other than 200 is an error.
func call(ctx context.Context, config *tls.Config, method, url string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}
