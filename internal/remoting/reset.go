package remoting

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-msha/msha"
)

// OffsetReset is an operator's wish that a group goes on elsewhere in the queues of a topic.
type OffsetReset struct {
	Group, Topic string
	Offsets      map[Queue]int64 // of one broker
}

// DecodeReset reads a broker's RESET_CONSUMER_CLIENT_OFFSET.
func DecodeReset(req *Command) (*OffsetReset, error) {
	r := &OffsetReset{Group: req.Ext["group"], Topic: req.Ext["topic"]}
	var err error
	if r.Offsets, err = DecodeOffsetTable(req.Body); err != nil {
		return nil, err
	}
	for q := range r.Offsets {
		if q.Topic != r.Topic {
			return nil, fmt.Errorf("offset reset of %s: %w: it names a queue of %s", r.Topic, msha.ErrInvalid, q.Topic)
		}
	}
	return r, nil
}

// DecodeOffsetTable reads the offsets of queues as brokers write them. fastjson makes an object the key of a map, {{"topic":…}:5}, which
// is no JSON; other writers put that key into a string. A client that says it is written in C++ gets a list.
func DecodeOffsetTable(body []byte) (map[Queue]int64, error) {
	var j struct {
		Table json.RawMessage `json:"offsetTable"`
	}
	if err := decodeJSON("offset table", quoteObjectKeys(body), &j); err != nil {
		return nil, err
	}
	out := map[Queue]int64{}
	add := func(q Queue, offset int64) error {
		if q.Topic == "" || q.Broker == "" || q.ID < 0 || offset < 0 {
			return fmt.Errorf("offset table: %w: offset %d of queue %q", msha.ErrInvalid, offset, q.String())
		}
		out[q] = offset
		return nil
	}
	table := bytes.TrimSpace(j.Table)
	if len(table) == 0 || string(table) == "null" {
		return out, nil
	}
	if table[0] == '[' {
		var list []struct {
			Queue
			Offset int64 `json:"offset"`
		}
		if err := decodeJSON("offset table", table, &list); err != nil {
			return nil, err
		}
		for _, e := range list {
			if err := add(e.Queue, e.Offset); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	var entries map[string]int64
	if err := decodeJSON("offset table", table, &entries); err != nil {
		return nil, err
	}
	for key, offset := range entries {
		var q Queue
		if err := decodeJSON("queue in an offset table", []byte(key), &q); err != nil {
			return nil, err
		}
		if err := add(q, offset); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// quoteObjectKeys puts objects that are keys into strings.
func quoteObjectKeys(b []byte) []byte {
	if json.Valid(b) {
		return b
	}
	var out bytes.Buffer
	for i := 0; i < len(b); i++ {
		if b[i] == '"' || b[i] != '{' {
			n := 1
			if b[i] == '"' {
				n = stringLen(b[i:])
			}
			out.Write(b[i : i+n])
			i += n - 1
			continue
		}
		if n := flatLen(b[i:]); n > 0 && i+n < len(b) && b[i+n] == ':' {
			key, _ := json.Marshal(string(b[i : i+n])) // cannot fail
			out.Write(key)
			i += n - 1
			continue
		}
		out.WriteByte('{')
	}
	return out.Bytes()
}

// EncodeOffsetTable writes the offsets of queues as brokers do.
func EncodeOffsetTable(offsets map[Queue]int64) []byte {
	b := []byte(`{"offsetTable":{`)
	sorted := slices.SortedFunc(maps.Keys(offsets), func(a, b Queue) int {
		return cmp.Or(strings.Compare(a.Broker, b.Broker), strings.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
	})
	for i, q := range sorted {
		if i > 0 {
			b = append(b, ',')
		}
		key, _ := json.Marshal(q) // cannot fail
		b = append(append(append(b, key...), ':'), strconv.FormatInt(offsets[q], 10)...)
	}
	return append(b, "}}"...)
}

// stringLen is the length of the string that b begins with, all of b if it does not end.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// flatLen is the length of the object that b begins with, if no other one is in it; 0 otherwise.
func flatLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{':
			return 0
		case '}':
			return i + 1
		}
	}
	return 0
}

// ResetOffsets asks one broker to let a group go on elsewhere in all queues of a topic, as `mqadmin resetOffsetByTime` does: at the first
// message stored at or after a time in milliseconds, or at the end for -1. With force also where that skips messages (RocketMQ 5
// always does). RocketMQ 5 keeps the wish until the group pulls; RocketMQ 4 tells the connected consumers, ErrNotFound if there are none. It
// returns the new offsets.
func (c *Cluster) ResetOffsets(ctx context.Context, addr, group, topic string, timestamp int64, force bool) (map[Queue]int64, error) {
	return c.resetOffsets(ctx, addr, map[string]string{
		"group": group, "topic": topic, "timestamp": strconv.FormatInt(timestamp, 10), "isForce": strconv.FormatBool(force), "offset": "-1", "queueId": "-1",
	})
}

// ResetOffset is ResetOffsets of one queue to an offset, which RocketMQ 4 does not know.
func (c *Cluster) ResetOffset(ctx context.Context, addr, group string, q Queue, offset int64) error {
	_, err := c.resetOffsets(ctx, addr, map[string]string{
		"group": group, "topic": q.Topic, "timestamp": "0", "isForce": "true", "offset": strconv.FormatInt(offset, 10), "queueId": strconv.Itoa(q.ID),
	})
	return err
}

func (c *Cluster) resetOffsets(ctx context.Context, addr string, ext map[string]string) (map[Queue]int64, error) {
	resp, err := c.callAddr(ctx, "reset offsets of "+ext["group"]+" in "+ext["topic"], addr, NewRequest(ReqInvokeResetOffset, ext, nil))
	if err != nil {
		return nil, err
	}
	return DecodeOffsetTable(resp.Body)
}
