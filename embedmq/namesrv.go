package embedmq

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-msha/msha/internal/remoting"
)

// nameServer is guarded by the cluster's lock.
type nameServer struct {
	c       *Cluster
	addr    string
	srv     *listener
	brokers map[string]string                 // living brokers: address
	topics  map[string]map[string]topicConfig // topic, broker: as registered
	values  map[kvKey]string
}

var nameServerHandlers = map[int]func(*nameServer, *request) *remoting.Command{
	remoting.ReqGetRouteInfoByTopic:     (*nameServer).route,
	remoting.ReqGetBrokerClusterInfo:    (*nameServer).clusterInfo,
	remoting.ReqGetAllTopicList:         (*nameServer).topicList,
	remoting.ReqDeleteTopicInNameServer: (*nameServer).deleteTopic,
	reqPutKV:                            (*nameServer).putKV,
	reqGetKV:                            (*nameServer).getKV,
	reqDeleteKV:                         (*nameServer).deleteKV,
}

func startNameServer(c *Cluster) (*nameServer, error) {
	ns := &nameServer{c: c, brokers: map[string]string{}, topics: map[string]map[string]topicConfig{}, values: map[kvKey]string{}}
	always := func() bool { return true }
	l, err := c.listen("127.0.0.1:0", c.serve(NameServer, always, func(r *request) *remoting.Command {
		h := nameServerHandlers[r.cmd.Code]
		if h == nil {
			return r.fail(remoting.RespRequestCodeNotSupported, " request type %d not supported", r.cmd.Code)
		}
		return h(ns, r)
	}), &remoting.ServerOptions{Logger: c.opts.Logger})
	if err != nil {
		return nil, err
	}
	ns.srv, ns.addr = l, l.addr.String()
	return ns, nil
}

func (ns *nameServer) registerAll(b *broker) {
	ns.brokers[b.name] = b.addr
	for _, t := range b.topics {
		ns.register(b, t)
	}
}

func (ns *nameServer) register(b *broker, t *topicConfig) {
	if b.srv == nil {
		return
	}
	if ns.topics[t.Name] == nil {
		ns.topics[t.Name] = map[string]topicConfig{}
	}
	ns.topics[t.Name][b.name] = *t
}

// forget is what happens when a broker's connection to the name server drops.
func (ns *nameServer) forget(broker string) {
	delete(ns.brokers, broker)
	for topic, by := range ns.topics {
		delete(by, broker)
		if len(by) == 0 {
			delete(ns.topics, topic)
		}
	}
}

// brokerData is written by hand: fastjson leaves numeric map keys unquoted, and clients must cope with that.
func (ns *nameServer) brokerData(name string) string {
	return fmt.Sprintf(`{"brokerAddrs":{0:%q},"brokerName":%q,"cluster":%q,"enableActingMaster":false}`, ns.brokers[name], name, ns.c.opts.Cluster)
}

func (ns *nameServer) route(r *request) *remoting.Command {
	if bad := r.need("topic"); bad != nil {
		return bad
	}
	by := ns.topics[r.str("topic")]
	if len(by) == 0 {
		return r.fail(remoting.RespTopicNotExist, "No topic route info in name server for the topic: %s", r.str("topic"))
	}
	var bs, qs []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		t := by[name]
		bs = append(bs, ns.brokerData(name))
		qs = append(qs, fmt.Sprintf(`{"brokerName":%q,"perm":%d,"readQueueNums":%d,"topicSysFlag":%d,"writeQueueNums":%d}`,
			name, t.Perm, t.Read, t.SysFlag, t.Write))
	}
	return r.body([]byte(`{"brokerDatas":[` + strings.Join(bs, ",") + `],"filterServerTable":{},"queueDatas":[` + strings.Join(qs, ",") + `]}`))
}

func (ns *nameServer) clusterInfo(r *request) *remoting.Command {
	names := slices.Sorted(maps.Keys(ns.brokers))
	var bs, quoted []string
	for _, name := range names {
		bs = append(bs, fmt.Sprintf("%q:%s", name, ns.brokerData(name)))
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	return r.body(fmt.Appendf(nil, `{"brokerAddrTable":{%s},"clusterAddrTable":{%q:[%s]}}`,
		strings.Join(bs, ","), ns.c.opts.Cluster, strings.Join(quoted, ",")))
}

func (ns *nameServer) topicList(r *request) *remoting.Command {
	body, _ := json.Marshal(map[string]any{"topicList": slices.Sorted(maps.Keys(ns.topics))})
	return r.body(body)
}

func (ns *nameServer) deleteTopic(r *request) *remoting.Command {
	if bad := r.need("topic"); bad != nil {
		return bad
	}
	delete(ns.topics, r.str("topic"))
	return r.ok(nil)
}
