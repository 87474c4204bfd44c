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

	entering chan struct{} // holds a value while logging in, so that one request does it for all

	mu    sync.Mutex
	token string
	renew time.Time
}

func newLogin(o Options) *login {
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: o.TLS, DisableKeepAlives: true},
		// A 307 would take the password to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &login{opts: o, client: client, entering: make(chan struct{}, 1), token: o.Token}
}

// headers are what a request carries, after logging in where that is due.
func (l *login) headers(ctx context.Context, at server) (map[string]string, error) {
	if token, ok := l.present(); ok {
		return carry(token), nil
	}
	select {
	case l.entering <- struct{}{}:
		defer func() { <-l.entering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if token, ok := l.present(); ok { // another request has got it meanwhile
		return carry(token), nil
	}
	token, err := l.enter(ctx, at)
	if err != nil {
		return nil, err
	}
	return carry(token), nil
}

func carry(token string) map[string]string {
	if token == "" {
		return nil
	}
	return map[string]string{"accessToken": token}
}

// present is the token to use, which is none without a user; false if it is time to log in.
func (l *login) present() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token, l.opts.User == "" || l.token != "" && time.Now().Before(l.renew)
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

func (l *login) enter(ctx context.Context, at server) (string, error) {
	for _, path := range loginPaths {
		code, body, err := l.post(ctx, at, path)
		if err != nil {
			return "", err
		}
		answer := fmt.Sprintf("HTTP status %d, %.200q", code, strings.TrimSpace(string(body)))
		switch {
		case code == http.StatusOK:
			return l.take(body)
		case slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusNotImplemented}, code):
			continue
		case code >= http.StatusInternalServerError: // says nothing about the user
			return "", fmt.Errorf("login of user %q: the server answered with %s", l.opts.User, answer)
		}
		return "", fmt.Errorf("login of user %q: %w", l.opts.User, &refusal{code: codeForbidden, message: answer})
	}
	return "", fmt.Errorf("login of user %q: %s has no login below %s", l.opts.User, at.addr, l.opts.ContextPath)
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

func (l *login) take(body []byte) (string, error) {
	var answer struct {
		AccessToken string `json:"accessToken"`
		TokenTTL    int64  `json:"tokenTtl"` // seconds
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return "", errors.New("login: the answer has no token")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = answer.AccessToken
	l.renew = time.Now().Add(time.Duration(answer.TokenTTL) * time.Second * 4 / 5)
	return l.token, nil
}
