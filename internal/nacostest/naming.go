package nacostest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
)

// maxMetadata is the real server's limit for the keys and values of an instance's metadata together.
const maxMetadata = 1024

type serviceKey struct{ namespace, group, name string }

// service is a named set of instances. A connection has at most one of them: a second one replaces the first.
type service struct {
	instances   map[string]*registered // by id of the connection
	subscribers map[string]bool        // ids of connections
}

type registered struct {
	model.Instance
	listed time.Time   // from when on it is listed
	before *registered // listed until then
}

// at is what is listed of a registration at present.
func (r *registered) at(now time.Time) *registered {
	for r != nil && now.Before(r.listed) {
		r = r.before
	}
	return r
}

func (s *Server) service(k serviceKey) *service {
	svc := s.services[k]
	if svc == nil {
		svc = &service{instances: map[string]*registered{}, subscribers: map[string]bool{}}
		s.services[k] = svc
	}
	return svc
}

// info is what clients are told of a service. The mutex is held.
func (s *Server) info(k serviceKey, svc *service) model.Service {
	hosts := []model.Instance{}
	for _, r := range svc.instances {
		if listed := r.at(time.Now()); listed != nil {
			hosts = append(hosts, listed.Instance)
		}
	}
	s.refTime = max(s.refTime+1, uint64(time.Now().UnixMilli())) // clients drop what is not newer
	slices.SortFunc(hosts, func(a, b model.Instance) int { return strings.Compare(a.InstanceId, b.InstanceId) })
	return model.Service{Name: k.name, GroupName: k.group, Hosts: hosts, CacheMillis: 10000, LastRefTime: s.refTime, Valid: true}
}

// pushService tells the subscribers. The mutex is held.
func (s *Server) pushService(k serviceKey, svc *service) {
	if s.faults.DropPushes {
		return
	}
	req := &rpc_request.NotifySubscriberRequest{NamingRequest: rpc_request.NewNamingRequest(k.namespace, k.name, k.group), ServiceInfo: s.info(k, svc)}
	for id := range svc.subscribers {
		s.push(s.conns[id], "NotifySubscriberRequest", req)
	}
}

func (c *call) instance(refused *rpc_response.Response) rpc_response.IResponse {
	req, bad := decode(c, rpc_request.NewInstanceRequest("", "", "", "", model.Instance{}))
	if refused == nil {
		refused = bad
	}
	if refused == nil {
		refused = c.register(req)
	}
	if refused == nil {
		refused = ok()
	}
	return &rpc_response.InstanceResponse{Response: refused}
}

func (c *call) register(req *rpc_request.InstanceRequest) *rpc_response.Response {
	size := 0
	for k, v := range req.Instance.Metadata {
		size += len(k) + len(v)
	}
	switch {
	case size > maxMetadata:
		return failed(codeInvalid, fmt.Sprintf("Param 'Metadata' is illegal, the param length should not exceed %d.", maxMetadata))
	case req.ServiceName == "" || len(req.ServiceName) > 512 || strings.Contains(req.ServiceName, "@@"):
		return failed(codeInvalid, "Param 'serviceName' is illegal, illegal characters should not appear in the param.")
	case c.conn.module != "naming":
		return failed(codeFail, fmt.Sprintf("Client [%s] not found!", c.conn.id))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := serviceKey{req.Namespace, req.GroupName, req.ServiceName}
	svc := c.service(k)
	switch req.Type {
	case "registerInstance":
		if c.conns[c.conn.id] != c.conn {
			return failed(codeUnregistered, "Connection is unregistered.")
		}
		i := req.Instance
		i.InstanceId = fmt.Sprintf("%s#%d#DEFAULT#%s@@%s", i.Ip, i.Port, k.group, k.name)
		i.ServiceName, i.Healthy, i.Enable, i.Ephemeral = k.group+"@@"+k.name, true, true, true
		svc.instances[c.conn.id] = &registered{i, time.Now().Add(c.faults.LateInstances), svc.instances[c.conn.id].at(time.Now())}
		if c.faults.LateInstances > 0 {
			time.AfterFunc(c.faults.LateInstances, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.pushService(k, svc)
			})
			return nil
		}
	case "deregisterInstance":
		delete(svc.instances, c.conn.id) // whatever the instance's address
	default:
		return failed(codeInvalid, "Unsupported request type "+req.Type)
	}
	c.pushService(k, svc)
	return nil
}

func (c *call) subscribe(refused *rpc_response.Response) rpc_response.IResponse {
	req, bad := decode(c, rpc_request.NewSubscribeServiceRequest("", "", "", "", true))
	if refused == nil {
		refused = bad
	}
	if refused != nil {
		return &rpc_response.SubscribeServiceResponse{Response: refused}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := serviceKey{req.Namespace, req.GroupName, req.ServiceName}
	svc := c.service(k)
	delete(svc.subscribers, c.conn.id)
	if req.Subscribe && c.conns[c.conn.id] == c.conn {
		svc.subscribers[c.conn.id] = true
	}
	return &rpc_response.SubscribeServiceResponse{Response: ok(), ServiceInfo: c.info(k, svc)}
}

func (c *call) queryService(refused *rpc_response.Response) rpc_response.IResponse {
	req, bad := decode(c, rpc_request.NewServiceQueryRequest("", "", "", "", false, 0))
	if refused == nil {
		refused = bad
	}
	if refused != nil {
		return &rpc_response.QueryServiceResponse{Response: refused}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := serviceKey{req.Namespace, req.GroupName, req.ServiceName}
	return &rpc_response.QueryServiceResponse{Response: ok(), ServiceInfo: c.info(k, c.service(k))}
}
