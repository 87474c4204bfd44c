package nacostest

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"
	"unicode/utf16"

	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_request"
	"github.com/nacos-group/nacos-sdk-go/v2/common/remote/rpc/rpc_response"
)

// configKey names a document. The default namespace is "", also where a client says "public".
type configKey struct{ namespace, group, dataID string }

// config is one document.
type config struct {
	exists    bool
	content   string
	listeners map[string]bool // ids of connections
	past      []past          // what reads still return: contents that were replaced, oldest first
	rows      int             // of history: accepted publishes and removals
}

// past is a content that reads return until it is over.
type past struct {
	exists  bool
	content string
	until   time.Time
}

var legalName = regexp.MustCompile(`^[a-zA-Z0-9_:.-]{1,256}$`)

func key(namespace, group, dataID string) configKey {
	if namespace == "public" {
		namespace = ""
	}
	return configKey{namespace, group, dataID}
}

// served is what a read returns at present. The mutex is held.
func (d *config) served() (content string, exists bool) {
	for len(d.past) > 0 && !time.Now().Before(d.past[0].until) {
		d.past = d.past[1:]
	}
	if len(d.past) > 0 {
		return d.past[0].content, d.past[0].exists
	}
	return d.content, d.exists
}

func (s *Server) config(k configKey) *config {
	d := s.configs[k]
	if d == nil {
		d = &config{listeners: map[string]bool{}}
		s.configs[k] = d
	}
	return d
}

func md5Hex(content string) string {
	sum := md5.Sum([]byte(content))
	return hex.EncodeToString(sum[:])
}

func checkName(req *rpc_request.ConfigRequest) *rpc_response.Response {
	switch {
	case !legalName.MatchString(req.DataId):
		return failed(codeInvalid, "invalid dataId : "+req.DataId)
	case !legalName.MatchString(req.Group) || len(req.Group) > 128:
		return failed(codeInvalid, "invalid group : "+req.Group)
	}
	return nil
}

func (c *call) publish(refused *rpc_response.Response) rpc_response.IResponse {
	if refused == nil {
		refused = c.tryPublish()
	}
	if refused == nil {
		refused = ok()
	}
	return &rpc_response.ConfigPublishResponse{Response: refused}
}

func (c *call) tryPublish() *rpc_response.Response {
	req, bad := decode(c, rpc_request.NewConfigPublishRequest("", "", "", "", ""))
	if bad == nil {
		bad = checkName(req.ConfigRequest)
	}
	if bad != nil {
		return bad
	}
	if req.Content == "" {
		return failed(codeInvalid, "content is blank : ")
	}
	if len(utf16.Encode([]rune(req.Content))) > c.opts.MaxContent {
		return failed(codeInvalid, fmt.Sprintf("invalid content, over %d", c.opts.MaxContent))
	}
	k := key(req.Tenant, req.Group, req.DataId)
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.config(k)
	if !d.exists && c.Server.faults.FailedInserts > 0 {
		c.Server.faults.FailedInserts--
		return failed(codeFail, "The Raft Group [nacos_config] did not find the Leader node")
	}
	if !d.exists && c.faults.SloppyInserts {
		c.mu.Unlock()
		time.Sleep(2 * time.Millisecond) // between looking for the row and inserting it
		c.mu.Lock()
		if d.exists {
			return nil // the insert violated the unique key, which nobody looks at
		}
	}
	if d.exists && req.CasMd5 != "" && !c.faults.IgnoreCas && req.CasMd5 != md5Hex(d.content) {
		if c.faults.SilentCas {
			return nil
		}
		return failed(codeFail, "Cas publish fail, server md5 may have changed.")
	}
	c.replace(k, d, true, req.Content)
	return nil
}

// replace stores another content, or none. The mutex is held.
func (c *call) replace(k configKey, d *config, exists bool, content string) {
	d.rows++
	if d.exists == exists && d.content == content {
		return
	}
	stale := c.faults.StaleReads
	if stale > 0 {
		d.past = append(d.past, past{d.exists, d.content, time.Now().Add(stale)})
	}
	d.exists, d.content = exists, content
	if stale <= 0 {
		c.notify(k)
		return
	}
	time.AfterFunc(stale, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notify(k)
	})
}

func (c *call) query(refused *rpc_response.Response) rpc_response.IResponse {
	answer := &rpc_response.ConfigQueryResponse{Response: refused}
	if refused != nil {
		return answer
	}
	req, bad := decode(c, rpc_request.NewConfigQueryRequest("", "", ""))
	if bad == nil {
		bad = checkName(req.ConfigRequest)
	}
	if bad == nil && c.faults.BusyReads {
		bad = failed(codeBusy, "requested file is being modified, please try later.")
	}
	if bad != nil {
		answer.Response = bad
		return answer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, exists := "", false
	if d := c.configs[key(req.Tenant, req.Group, req.DataId)]; d != nil {
		content, exists = d.served()
	}
	if !exists {
		answer.Response = failed(codeNotFound, "config data not exist")
		return answer
	}
	answer.Response, answer.Content, answer.ContentType, answer.Md5 = ok(), content, "text", md5Hex(content)
	return answer
}

func (c *call) remove(refused *rpc_response.Response) rpc_response.IResponse {
	req, bad := decode(c, rpc_request.NewConfigRemoveRequest("", "", ""))
	if refused == nil {
		refused = bad
	}
	if refused == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		k := key(req.Tenant, req.Group, req.DataId)
		if d := c.config(k); d.exists {
			c.replace(k, d, false, "")
		}
		refused = ok()
	}
	return &rpc_response.ConfigRemoveResponse{Response: refused}
}
