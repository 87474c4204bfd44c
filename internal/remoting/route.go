package remoting

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"

	"github.com/go-msha/msha"
)

// Queue is a queue of a cluster.
type Queue struct {
	Topic  string `json:"topic"`
	Broker string `json:"brokerName"`
	ID     int    `json:"queueId"`
}

// String is for logs and map keys: topic/broker/id.
func (q Queue) String() string { return q.Topic + "/" + q.Broker + "/" + strconv.Itoa(q.ID) }

// Broker is one broker of a route; Addrs by broker id, 0 is the master.
type Broker struct {
	Name, Cluster string
	Addrs         map[int64]string
}

// QueueData is how many queues a broker has of a topic.
type QueueData struct {
	Broker             string
	Read, Write        int
	Perm, TopicSysFlag int
}

// Permission bits.
const (
	PermWrite = 2
	PermRead  = 4
)

// Route is where a topic lives.
type Route struct {
	Brokers []Broker
	Queues  []QueueData
	// Static is true for a topic of RocketMQ 5 whose queues are logical: brokers map their offsets to those of queues that may move between them.
	Static bool
}

type brokerJSON struct {
	BrokerName  string           `json:"brokerName"`
	Cluster     string           `json:"cluster"`
	BrokerAddrs map[int64]string `json:"brokerAddrs"`
}

type routeJSON struct {
	BrokerDatas []brokerJSON `json:"brokerDatas"`
	QueueDatas  []struct {
		BrokerName     string `json:"brokerName"`
		ReadQueueNums  int    `json:"readQueueNums"`
		WriteQueueNums int    `json:"writeQueueNums"`
		Perm           int    `json:"perm"`
		TopicSysFlag   int    `json:"topicSysFlag"`
	} `json:"queueDatas"`
	Mappings map[string]json.RawMessage `json:"topicQueueMappingByBroker"`
}

// quoteKeys makes JSON of what fastjson writes: it leaves integer map keys unquoted.
func quoteKeys(b []byte) []byte {
	var out bytes.Buffer
	inString, escaped := false, false
	for i := 0; i < len(b); i++ {
		ch := b[i]
		if inString {
			out.WriteByte(ch)
			inString = escaped || ch != '"'
			escaped = !escaped && ch == '\\'
			continue
		}
		if ch == '"' {
			inString = true
		}
		out.WriteByte(ch)
		if ch != '{' && ch != ',' {
			continue
		}
		j := i + 1
		for j < len(b) && (b[j] == '-' || b[j] >= '0' && b[j] <= '9') {
			j++
		}
		if j > i+1 && j < len(b) && b[j] == ':' {
			out.WriteByte('"')
			out.Write(b[i+1 : j])
			out.WriteByte('"')
			i = j - 1
		}
	}
	return out.Bytes()
}

// decodeJSON reads what a server wrote, unquoted keys included.
func decodeJSON(op string, b []byte, v any) error {
	if err := json.Unmarshal(quoteKeys(b), v); err != nil {
		return fmt.Errorf("%s: %w: answer: %v", op, msha.ErrInvalid, err)
	}
	return nil
}

func decodeRoute(b []byte) (*Route, error) {
	var j routeJSON
	if err := decodeJSON("route", b, &j); err != nil {
		return nil, err
	}
	r := &Route{Static: len(j.Mappings) > 0}
	for _, d := range j.BrokerDatas {
		r.Brokers = append(r.Brokers, Broker{Name: d.BrokerName, Cluster: d.Cluster, Addrs: d.BrokerAddrs})
	}
	for _, q := range j.QueueDatas {
		if q.ReadQueueNums < 0 || q.WriteQueueNums < 0 || q.ReadQueueNums > 1<<16 || q.WriteQueueNums > 1<<16 {
			return nil, fmt.Errorf("route: %w: %d read and %d write queues", msha.ErrInvalid, q.ReadQueueNums, q.WriteQueueNums)
		}
		r.Queues = append(r.Queues, QueueData{q.BrokerName, q.ReadQueueNums, q.WriteQueueNums, q.Perm, q.TopicSysFlag})
	}
	sort.Slice(r.Brokers, func(i, k int) bool { return r.Brokers[i].Name < r.Brokers[k].Name })
	sort.Slice(r.Queues, func(i, k int) bool { return r.Queues[i].Broker < r.Queues[k].Broker })
	return r, nil
}

// Route asks a name server where a topic lives, uncached. ErrNotFound if it does not know the topic.
func (c *Cluster) Route(ctx context.Context, topic string) (*Route, error) {
	resp, err := c.askNameServer(ctx, "route of "+topic, ReqGetRouteInfoByTopic, map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"})
	if err != nil {
		return nil, err
	}
	return decodeRoute(resp.Body)
}

// Queues lists a topic's queues that can be written or read, ordered by broker and id, uncached. ErrUnsupported for a static topic: what its
// offsets mean changes when a queue moves.
func (c *Cluster) Queues(ctx context.Context, topic string, write bool) ([]Queue, error) {
	r, err := c.Route(ctx, topic)
	if err != nil {
		return nil, err
	}
	if r.Static {
		return nil, msha.Errorf("route", "topic "+topic, "use an ordinary topic", "%w: static topic", msha.ErrUnsupported)
	}
	var out []Queue
	for _, q := range r.Queues {
		n, perm := q.Read, PermRead
		if write {
			n, perm = q.Write, PermWrite
		}
		if q.Perm&perm == 0 {
			continue
		}
		for id := range n {
			out = append(out, Queue{topic, q.Broker, id})
		}
	}
	return out, nil
}

type clusterInfo struct {
	Brokers  map[string]brokerJSON `json:"brokerAddrTable"`
	Clusters map[string][]string   `json:"clusterAddrTable"`
}

func (c *Cluster) info(ctx context.Context) (*clusterInfo, error) {
	resp, err := c.askNameServer(ctx, "cluster info", ReqGetBrokerClusterInfo, nil)
	if err != nil {
		return nil, err
	}
	info := &clusterInfo{}
	return info, decodeJSON("cluster info", resp.Body, info)
}

// Brokers asks for the addresses of all masters by broker name, uncached.
func (c *Cluster) Brokers(ctx context.Context) (map[string]string, error) {
	info, err := c.info(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, b := range info.Brokers {
		if addr := b.BrokerAddrs[0]; addr != "" {
			out[name] = addr
		}
	}
	c.mu.Lock()
	for name, addr := range out {
		c.masters[name] = addr
	}
	c.mu.Unlock()
	return out, nil
}

// ClusterNames asks for the names of the clusters the brokers belong to, uncached; each is the name of a system topic too.
func (c *Cluster) ClusterNames(ctx context.Context) ([]string, error) {
	info, err := c.info(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(info.Clusters)), nil
}

// MasterAddr is the address of a broker's master, cached; one that was forgotten serves while no name server knows better. topic may be empty.
// ErrNotFound if no such master is registered.
func (c *Cluster) MasterAddr(ctx context.Context, _ string, broker string) (string, error) {
	c.mu.Lock()
	addr := c.masters[broker]
	c.mu.Unlock()
	if addr != "" {
		return addr, nil
	}
	all, err := c.Brokers(ctx)
	if addr = all[broker]; addr != "" || ctx.Err() != nil {
		return addr, err
	}
	c.mu.Lock()
	addr = c.before[broker]
	c.mu.Unlock()
	if addr != "" {
		return addr, nil
	}
	if err != nil {
		return "", err
	}
	return "", msha.Errorf("broker address", broker, "is its master running?", "%w: no master of this name is registered", msha.ErrNotFound)
}
