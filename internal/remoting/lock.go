package remoting

import (
	"context"
	"encoding/json"
)

type lockBody struct {
	Group    string  `json:"consumerGroup"`
	ClientID string  `json:"clientId"`
	Queues   []Queue `json:"mqSet"`
}

// Lock asks one broker for the locks of queues and returns those the client now holds; each lasts 60 s from the broker's view unless
// renewed by another Lock. The broker does not check the group's name.
func (c *Cluster) Lock(ctx context.Context, addr, group, clientID string, qs []Queue) ([]Queue, error) {
	body, err := json.Marshal(lockBody{group, clientID, qs})
	if err != nil {
		return nil, err
	}
	resp, err := c.callAddr(ctx, "lock queues for "+group, addr, NewRequest(ReqLockBatchMQ, nil, body))
	if err != nil {
		return nil, err
	}
	var j struct {
		OK []Queue `json:"lockOKMQSet"`
	}
	return j.OK, decodeJSON("lock queues", resp.Body, &j)
}

// Unlock gives locks back.
func (c *Cluster) Unlock(ctx context.Context, addr, group, clientID string, qs []Queue) error {
	body, err := json.Marshal(lockBody{group, clientID, qs})
	if err != nil {
		return err
	}
	_, err = c.callAddr(ctx, "unlock queues for "+group, addr, NewRequest(ReqUnlockBatchMQ, nil, body))
	return err
}
