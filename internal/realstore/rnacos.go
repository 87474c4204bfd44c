package realstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-msha/msha/internal/child"
)

// RnacosOptions describe an r-nacos server. The zero value, and nil, are valid.
type RnacosOptions struct {
	// User and Password make the server ask for them. Default: no authentication.
	User, Password string
	// Env is added to the environment, e.g. RUST_LOG=debug.
	Env []string
}

// grpcOffset is where Nacos clients look for the gRPC port.
const grpcOffset, consoleOffset = 1000, 2000

// StartRnacos starts an r-nacos and returns once it serves. Addr is its HTTP address; gRPC is on that port + 1000, as Nacos clients
// expect.
func StartRnacos(ctx context.Context, o *RnacosOptions) (*Server, error) {
	var opts RnacosOptions
	if o != nil {
		opts = *o
	}
	path, err := findRnacos()
	if err != nil {
		return nil, fmt.Errorf("realstore: %w", err)
	}
	for attempt := 1; ; attempt++ {
		s, err := opts.launch(ctx, path)
		if err == nil || attempt == rnacosStarts || ctx.Err() != nil {
			return s, err
		}
	}
}

// launch starts a server on a new folder. One that did not become its own leader in time may never do so on the folder it has: it was
// killed between the two writes that make it one.
func (o RnacosOptions) launch(ctx context.Context, path string) (*Server, error) {
	s, err := launch(ctx, "rnacos", func(s *Server) error { return o.build(s, path) })
	if err != nil {
		return nil, err
	}
	if o.Password != "" {
		if err := o.awaitUser(ctx, s); err != nil {
			s.Stop()
			return nil, fmt.Errorf("realstore: rnacos: %w", err)
		}
	}
	s.nodes[0].starts = rnacosStarts // from now on its folder is one that it served from
	return s, nil
}

const (
	rnacosStarts   = 6
	rnacosPatience = 6 * time.Second
	userLogins     = 15
	userPause      = 200 * time.Millisecond
)

// awaitUser returns once User can log in. The server makes it some time after it serves; if it was not its own leader by then, never.
func (o RnacosOptions) awaitUser(ctx context.Context, s *Server) (err error) {
	form := url.Values{"username": {o.User}, "password": {o.Password}}
	for range userLogins {
		if _, err = call(ctx, nil, http.MethodPost, "http://"+s.Addr()+"/nacos/v1/auth/login?"+form.Encode(), nil); err == nil {
			return nil
		}
		select {
		case <-time.After(userPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("its user was not made: %w", err)
}

// findRnacos prefers the binary that make test-nacos built.
func findRnacos() (string, error) {
	cache, err := child.CacheDir()
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath(filepath.Join(cache, "rnacos", "bin", "rnacos")); err == nil {
		return path, nil
	}
	path, err := child.Find("rnacos", "run 'make test-nacos', which builds it")
	if errors.Is(err, child.ErrMissing) {
		return "", fmt.Errorf("%w (it is not in %s either)", err, filepath.Join(cache, "rnacos", "bin"))
	}
	return path, err
}

func (o RnacosOptions) build(s *Server, path string) error {
	port, err := child.FreePort(0, grpcOffset, consoleOffset)
	if err != nil {
		return err
	}
	n, err := s.add("rnacos", port)
	if err != nil {
		return err
	}
	s.entries = s.nodes
	n.spec.Path = path
	n.spec.Env = append([]string{
		"RNACOS_SDK_HOST=" + loopback,
		"RNACOS_HTTP_PORT=" + strconv.Itoa(port),
		"RNACOS_GRPC_PORT=" + strconv.Itoa(port+grpcOffset),
		"RNACOS_HTTP_CONSOLE_PORT=" + strconv.Itoa(port+consoleOffset),
		"RNACOS_RAFT_NODE_ADDR=" + loopback + ":" + strconv.Itoa(port+grpcOffset),
		"RNACOS_CONFIG_DB_DIR=" + filepath.Join(n.dir, "data"),
		"RNACOS_DATA_DIR=" + filepath.Join(n.dir, "data"), // a newer name that would come first
	}, o.Env...)
	if o.Password != "" {
		n.spec.Env = append(n.spec.Env, "RNACOS_ENABLE_OPEN_API_AUTH=true", "RNACOS_API_LOGIN_ONE_MINUTE_LIMIT=10000",
			"RNACOS_INIT_ADMIN_USERNAME="+o.User, "RNACOS_INIT_ADMIN_PASSWORD="+o.Password)
	}
	n.ready = func(ctx context.Context) bool {
		_, err := call(ctx, nil, http.MethodGet, "http://"+n.addr+"/health", nil)
		return err == nil && (o.Password != "" || keeps(ctx, n.addr))
	}
	n.patience = rnacosPatience
	return nil
}

// keeps reports whether the server gives back what is written. One that was not its own leader when it began to serve says yes to every
// write and keeps none, for as long as it runs.
func keeps(ctx context.Context, addr string) bool {
	value := rand.Text()
	of := "http://" + addr + "/nacos/v1/cs/configs?dataId=realstore.ready&group=realstore"
	if _, err := call(ctx, nil, http.MethodPost, of+"&content="+value, nil); err != nil {
		return false
	}
	got, err := call(ctx, nil, http.MethodGet, of, nil)
	return err == nil && string(got) == value
}
