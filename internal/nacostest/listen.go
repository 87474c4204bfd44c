package nacostest

import (
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
)

// listen begins or ends listening to documents, and answers which of them differ from what the client has.
func (c *call) listen(refused *rpc_response.Response) rpc_response.IResponse {
	req, bad := decode(c, rpc_request.NewConfigBatchListenRequest(0))
	if refused == nil {
		refused = bad
	}
	if refused != nil {
		return &rpc_response.ConfigChangeBatchListenResponse{Response: refused}
	}
	answer := &rpc_response.ConfigChangeBatchListenResponse{Response: ok()}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range req.ConfigListenContexts {
		d := c.config(key(l.Tenant, l.Group, l.DataId))
		if !req.Listen {
			delete(d.listeners, c.conn.id)
			continue
		}
		if c.conns[c.conn.id] == c.conn { // or it ended meanwhile
			d.listeners[c.conn.id] = true
		}
		content, exists := d.served()
		have := ""
		if exists {
			have = md5Hex(content)
		}
		if have != l.Md5 {
			answer.ChangedConfigs = append(answer.ChangedConfigs, model.ConfigContext{Group: l.Group, DataId: l.DataId, Tenant: l.Tenant})
		}
	}
	return answer
}

// notify tells the listeners that a document changed. The mutex is held.
func (s *Server) notify(k configKey) {
	if s.faults.DropPushes {
		return
	}
	for id := range s.configs[k].listeners {
		s.push(s.conns[id], "ConfigChangeNotifyRequest", rpc_request.NewConfigChangeNotifyRequest(k.group, k.dataID, k.namespace))
	}
}
