package msha

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// OriginQueue names a queue where messages are first stored. Incarnation grows when the queue's offsets start to be reused
// (the origin lost its tail, or the topic was recreated; design section 6).
type OriginQueue struct {
	Unit        string `json:"unit"`
	Broker      string `json:"broker"`
	Topic       string `json:"topic"`
	Queue       int    `json:"queue"`
	Incarnation int64  `json:"incarnation,omitempty"`
}

// String is for logs: unit/broker/topic/queue, and #incarnation if there was more than one.
func (q OriginQueue) String() string {
	s := fmt.Sprintf("%s/%s/%s/%d", q.Unit, q.Broker, q.Topic, q.Queue)
	if q.Incarnation != 0 {
		s += "#" + strconv.FormatInt(q.Incarnation, 10)
	}
	return s
}

// First is the queue in its first incarnation.
func (q OriginQueue) First() OriginQueue {
	q.Incarnation = 0
	return q
}

// Origin is a message's identity: where it was first stored.
type Origin struct {
	OriginQueue
	Offset int64
}

// String is for logs.
func (o Origin) String() string {
	return o.OriginQueue.String() + "@" + strconv.FormatInt(o.Offset, 10)
}

// Compare orders the messages of one queue as they were stored: later incarnations follow earlier ones.
func (o Origin) Compare(p Origin) int {
	return cmp.Or(cmp.Compare(o.Incarnation, p.Incarnation), cmp.Compare(o.Offset, p.Offset))
}

// Encode gives the property form 1|unit|broker|topic|queue|incarnation|offset, names escaped (design section 4).
func (o Origin) Encode() string {
	return strings.Join([]string{"1", url.QueryEscape(o.Unit), url.QueryEscape(o.Broker), url.QueryEscape(o.Topic),
		strconv.Itoa(o.Queue), strconv.FormatInt(o.Incarnation, 10), strconv.FormatInt(o.Offset, 10)}, "|")
}

// ParseOrigin is the strict inverse of Encode: only what Encode gives is accepted; ErrInvalid otherwise.
func ParseOrigin(s string) (Origin, error) {
	bad := func(what string) (Origin, error) {
		return Origin{}, Errorf("origin.parse", fmt.Sprintf("%.120q", s), "", "%w: %s", ErrInvalid, what)
	}
	parts := strings.Split(s, "|")
	if len(parts) != 7 {
		return bad("want 7 fields")
	}
	if parts[0] != "1" {
		return bad("unknown version")
	}
	var names [3]string
	for i := range names {
		v, err := url.QueryUnescape(parts[i+1])
		if err != nil || v == "" {
			return bad("bad name")
		}
		names[i] = v
	}
	queue, err1 := strconv.ParseInt(parts[4], 10, 32)
	inc, err2 := strconv.ParseInt(parts[5], 10, 64)
	off, err3 := strconv.ParseInt(parts[6], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || queue < 0 || inc < 0 || off < 0 {
		return bad("bad number")
	}
	o := Origin{OriginQueue{names[0], names[1], names[2], int(queue), inc}, off}
	if o.Encode() != s {
		return bad("not in canonical form")
	}
	return o, nil
}
