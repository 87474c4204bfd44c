package nacos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// loginPaths are those of Nacos 2, which 3 may have switched off, and of Nacos 3.
var loginPaths = []string{"/v1/auth/users/login", "/v3/auth/user/login"}

// login has the token that requests carry, and gets the next one before it expires. Methods are safe for concurrent use.
type login struct {
	opts   Options
	client *http.Client

	mu    sync.Mutex // held while logging in, so that one request does it for all
	token string
	renew time.Time
}

func newLogin(o Options) *login {
	l := &login{opts: o, client: &http.Client{Transport: &http.Transport{TLSClientConfig: o.TLS, DisableKeepAlives: true}}}
	if o.Token != "" {
		l.token = o.Token
	}
	return l
}

// headers are what a request carries, after logging in where that is due.
func (l *login) headers(ctx context.Context, at server) (map[string]string, error) {
	if l.opts.User == "" {
		if l.token == "" {
			return nil, nil
		}
		return map[string]string{"accessToken": l.token}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == "" || !time.Now().Before(l.renew) {
		if err := l.enter(ctx, at); err != nil {
			return nil, err
		}
	}
	return map[string]string{"accessToken": l.token}, nil
}

// forget drops the token of a request that was refused, unless there is a newer one already; false if logging in again cannot help.
func (l *login) forget(headers map[string]string) bool {
	if l.opts.User == "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == headers["accessToken"] {
		l.token = ""
	}
	return true
}

func (l *login) enter(ctx context.Context, at server) error {
	for _, path := range loginPaths {
		code, body, err := l.post(ctx, at, path)
		if err != nil {
			return err
		}
		if code == http.StatusOK {
			return l.take(body)
		}
		if !slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented}, code) {
			return fmt.Errorf("login of user %q: %w", l.opts.User, &refusal{code: codeForbidden, message: fmt.Sprintf("HTTP status %d, %.200q", code, strings.TrimSpace(string(body)))})
		}
	}
	return fmt.Errorf("login of user %q: http://%s%s has no login", l.opts.User, at.addr, l.opts.ContextPath)
}

// post sends the password in the body, which no proxy and no error message shows.
func (l *login) post(ctx context.Context, at server, path string) (int, []byte, error) {
	scheme := "http"
	if l.opts.HTTPS {
		scheme = "https"
	}
	form := url.Values{"username": {l.opts.User}, "password": {l.opts.Password}}
	target := scheme + "://" + at.addr + strings.TrimSuffix(l.opts.ContextPath, "/") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, fmt.Errorf("login: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("login: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}

func (l *login) take(body []byte) error {
	var answer struct {
		AccessToken string `json:"accessToken"`
		TokenTTL    int64  `json:"tokenTtl"` // seconds
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return errors.New("login: the answer has no token")
	}
	l.token = answer.AccessToken
	l.renew = time.Now().Add(time.Duration(answer.TokenTTL) * time.Second * 4 / 5)
	return nil
}
