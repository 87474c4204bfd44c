package etcd

import (
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// history remembers what linearizable answers said about the cluster, to notice one that lost accepted writes.
type history struct {
	mu       sync.Mutex
	cluster  uint64 // 0: not known yet
	revision int64  // the highest answered
}

// newest is asked before a request: only what was answered by then binds its answer.
func (h *history) newest() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision
}

// saw takes the header of the answer to a request before which the revision was newest, and returns why it is not the same history, or "".
func (h *history) saw(newest int64, header *pb.ResponseHeader) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.cluster
	if known == 0 {
		h.cluster = header.ClusterId
	}
	h.revision = max(h.revision, header.Revision)
	switch {
	case header.Revision < newest:
		return fmt.Sprintf("the cluster's revision went back from %d to %d: it lost accepted writes (restored backup, wiped member)", newest, header.Revision)
	case known != 0 && known != header.ClusterId:
		return fmt.Sprintf("another cluster answers: id %x was %x (restored backup, wrong address)", header.ClusterId, known)
	}
	return ""
}
