package nacostest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/stretchr/testify/require"
)

func TestARestartKeepsDocumentsAndPorts(t *testing.T) {
	s := start(t, nil)
	addr := s.Addr()
	c := dial(t, s, "config")
	require.True(t, c.publish("one", "").Success)
	require.NoError(t, s.Restart())
	require.Equal(t, addr, s.Addr())
	c.ended()
	require.Equal(t, "one", dial(t, s, "config").query())
	s.Kill()
	s.Kill()
	require.NoError(t, s.Restart())
	require.Equal(t, "one", dial(t, s, "config").query())
}

func TestAConnectionThatWasNotSetUpIsNotKnown(t *testing.T) {
	c := dial(t, start(t, nil), "")
	require.Equal(t, codeUnregistered, c.ask(rpc_request.NewConfigQueryRequest("g", "d", ""), nil).ErrorCode)
	require.True(t, c.ask(rpc_request.NewServerCheckRequest(), nil).Success)
	require.Equal(t, codeNoHandler, c.ask(rpc_request.NewServiceListRequest("", "", "", 1, 1, ""), nil).ErrorCode)
}

func TestConnectionsAreForgotten(t *testing.T) {
	s := start(t, nil)
	c, watcher := dial(t, s, "naming"), dial(t, s, "naming")
	instance := rpc_request.NewInstanceRequest("public", "svc", "g", "registerInstance", model.Instance{Ip: "10.0.0.1", Port: 1})
	require.True(t, c.ask(instance, nil).Success)
	s.ForgetConnections()
	require.Equal(t, codeUnregistered, c.ask(rpc_request.NewHealthCheckRequest(), nil).ErrorCode)
	require.Equal(t, codeUnregistered, watcher.ask(rpc_request.NewHealthCheckRequest(), nil).ErrorCode)
	var list rpc_response.QueryServiceResponse
	require.True(t, dial(t, s, "naming").ask(rpc_request.NewServiceQueryRequest("public", "svc", "g", "", false, 0), &list).Success)
	require.Empty(t, list.ServiceInfo.Hosts)
	s.Set(func(f *Faults) { f.Starting = true })
	require.Equal(t, codeStarting, c.ask(rpc_request.NewServerCheckRequest(), nil).ErrorCode)
}

func TestSilentClientsAreAskedAndDropped(t *testing.T) {
	c := dial(t, start(t, &Options{KeepAlive: 4 * time.Second}), "config") // a slow machine has a second to set it up
	require.Equal(t, 1, c.ended(), "asked once")
}

func TestLogin(t *testing.T) {
	s := start(t, &Options{User: "u", Password: "p", ReadOnly: true})
	login := func(path, password string) (int, string) {
		resp, err := http.PostForm("http://"+s.Addr()+path, url.Values{"username": {"u"}, "password": {password}})
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		defer http.DefaultClient.CloseIdleConnections()
		var answer struct{ AccessToken string }
		_ = json.NewDecoder(resp.Body).Decode(&answer)
		return resp.StatusCode, answer.AccessToken
	}
	c := dial(t, s, "config")
	require.Equal(t, codeForbidden, c.publish("one", "").ErrorCode)
	code, _ := login("/nacos/v1/auth/login", "wrong")
	require.Equal(t, http.StatusForbidden, code)
	for _, path := range []string{"/nacos/v1/auth/login", "/nacos/v1/auth/users/login", "/nacos/v3/auth/user/login"} {
		code, c.token = login(path, "p")
		require.Equal(t, http.StatusOK, code)
		require.Empty(t, c.query())
	}
	require.Equal(t, "authorization failed!", c.publish("one", "").Message, "read only")
	s.ExpireTokens()
	require.Equal(t, codeForbidden, c.ask(rpc_request.NewConfigQueryRequest("g", "d", ""), nil).ErrorCode)
	resp, err := http.Get("http://" + s.Addr() + "/nacos/v1/cs/configs?search=blur")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, 2, s.Requests()["HTTP /nacos/v1/auth/login"])
}

func TestInstances(t *testing.T) {
	s := start(t, nil)
	a, b, watcher := dial(t, s, "naming"), dial(t, s, "naming"), dial(t, s, "naming")
	instance := func(c *client, how string, port uint64, metadata string) rpc_response.Response {
		return c.ask(rpc_request.NewInstanceRequest("public", "svc", "g", how, model.Instance{Ip: "10.0.0.1", Port: port, Metadata: map[string]string{"k": metadata}}), nil)
	}
	ports := func(hosts []model.Instance) (all []uint64) {
		for _, h := range hosts {
			all = append(all, h.Port)
		}
		return all
	}
	pushed := func() []uint64 {
		var push rpc_request.NotifySubscriberRequest
		require.NoError(t, json.Unmarshal(watcher.notice("NotifySubscriberRequest"), &push))
		return ports(push.ServiceInfo.Hosts)
	}
	var info rpc_response.SubscribeServiceResponse
	require.True(t, watcher.ask(rpc_request.NewSubscribeServiceRequest("public", "svc", "g", "", true), &info).Success)
	require.Empty(t, info.ServiceInfo.Hosts)
	require.True(t, instance(a, "registerInstance", 1, "").Success)
	require.Equal(t, []uint64{1}, pushed())
	require.True(t, instance(b, "registerInstance", 2, "").Success)
	require.Equal(t, []uint64{1, 2}, pushed())
	require.True(t, instance(a, "registerInstance", 3, "").Success)
	require.Equal(t, []uint64{2, 3}, pushed(), "one instance per connection and service")
	require.NoError(t, b.conn.Close())
	require.Equal(t, []uint64{3}, pushed(), "gone with its connection")
	var list rpc_response.QueryServiceResponse
	require.True(t, watcher.ask(rpc_request.NewServiceQueryRequest("public", "svc", "g", "", false, 0), &list).Success)
	require.Equal(t, []uint64{3}, ports(list.ServiceInfo.Hosts))
	require.True(t, instance(a, "deregisterInstance", 3, "").Success)
	require.Empty(t, pushed())
	require.False(t, instance(dial(t, s, "config"), "registerInstance", 4, "").Success, "not a naming client")
	require.Contains(t, instance(a, "registerInstance", 5, string(make([]byte, maxMetadata))).Message, "should not exceed 1024")
}
