package remoting

import (
	"context"
	"strings"
)

// RuntimeInfo asks a broker for the figures it keeps about itself, by name.
func (c *Cluster) RuntimeInfo(ctx context.Context, addr string) (map[string]string, error) {
	const op = "runtime information"
	resp, err := c.callAddr(ctx, op, addr, NewRequest(ReqGetBrokerRuntimeInfo, nil, nil))
	if err != nil {
		return nil, err
	}
	var j struct {
		Table map[string]string `json:"table"`
	}
	if err := decodeJSON(op, resp.Body, &j); err != nil {
		return nil, err
	}
	return j.Table, nil
}

// BrokerConfig asks a broker for its configuration, by property.
func (c *Cluster) BrokerConfig(ctx context.Context, addr string) (map[string]string, error) {
	resp, err := c.callAddr(ctx, "broker configuration", addr, NewRequest(ReqGetBrokerConfig, nil, nil))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(resp.Body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = value
		}
	}
	return out, nil
}
