package embedmq

import "github.com/go-msha/msha/internal/remoting"

// Requests for the name server's key-value configuration.
const (
	reqPutKV    = 100
	reqGetKV    = 101
	reqDeleteKV = 102
)

type kvKey struct{ namespace, key string }

func (r *request) kvKey() (kvKey, *remoting.Command) {
	return kvKey{r.str("namespace"), r.str("key")}, r.need("namespace", "key")
}

// putKV serves PUT_KV_CONFIG.
func (ns *nameServer) putKV(r *request) *remoting.Command {
	k, bad := r.kvKey()
	if bad == nil {
		bad = r.need("value")
	}
	if bad != nil {
		return bad
	}
	ns.values[k] = r.str("value")
	return r.ok(nil)
}

// getKV serves GET_KV_CONFIG.
func (ns *nameServer) getKV(r *request) *remoting.Command {
	k, bad := r.kvKey()
	if bad != nil {
		return bad
	}
	v, ok := ns.values[k]
	if !ok {
		return r.fail(remoting.RespQueryNotFound, "No config item, Namespace: %s Key: %s", k.namespace, k.key)
	}
	return r.ok(map[string]string{"value": v})
}

// deleteKV serves DELETE_KV_CONFIG.
func (ns *nameServer) deleteKV(r *request) *remoting.Command {
	k, bad := r.kvKey()
	if bad != nil {
		return bad
	}
	delete(ns.values, k)
	return r.ok(nil)
}
