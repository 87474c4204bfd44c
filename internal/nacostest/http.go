package nacostest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"
)

// handler serves the little HTTP that clients use: logging in, by the paths of Nacos 2 and 3, and listing documents, which needs more
// rights than clients have.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/nacos/v1/auth/login", "/nacos/v1/auth/users/login", "/nacos/v3/auth/user/login"} {
		mux.HandleFunc("POST "+path, s.login)
	}
	for _, path := range []string{"/nacos/v1/cs/configs", "/nacos/v3/admin/cs/config/list"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"code":403,"message":"authorization failed!","data":null}`, http.StatusForbidden)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count("HTTP " + r.URL.Path)
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("username") != s.opts.User || r.FormValue("password") != s.opts.Password {
		http.Error(w, "unknown user!", http.StatusForbidden)
		return
	}
	token := rand.Text()
	s.mu.Lock()
	s.tokens[token] = time.Now().Add(s.opts.TokenTTL)
	s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]interface{}{
		"accessToken": token, "tokenTtl": int(max(s.opts.TokenTTL/time.Second, 1)), "globalAdmin": false, "username": s.opts.User,
	})
}

// knows says whether a token is one of ours and not expired.
func (s *Server) knows(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.tokens[token])
}

// ExpireTokens makes every login so far worthless.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}
