package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/go-msha/msha"
	"github.com/go-msha/msha/tagging"
)

// MTR accepts requests over HTTP and produces one message for each into the topic of its own unit.
type MTR struct {
	Unit     string
	Topic    string
	Producer rocketmq.Producer
	Journal  *Journal
	Log      *slog.Logger
}

// maxRequest is the largest body POST /send reads: RocketMQ's default message limit.
const maxRequest = 4 << 20

type sendRequest struct {
	City string `json:"city"` // the routing value; empty: processed by the unit that accepted the request
	Text string `json:"text"`
}

// ServeHTTP handles POST /send with a JSON body {"city": "...", "text": "..."} and answers {"id": "..."}.
func (m *MTR) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, fmt.Sprintf("body: %v (at most %d bytes)", err, maxRequest), http.StatusRequestEntityTooLarge)
		return
	}
	var req sendRequest
	if err := json.Unmarshal(body, &req); err != nil {
		http.Error(w, fmt.Sprintf(`body: %v (want {"city": "...", "text": "..."})`, err), http.StatusBadRequest)
		return
	}
	id, err := m.Send(r.Context(), req.City, req.Text)
	switch {
	case errors.Is(err, msha.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	reply(w, map[string]string{"id": id})
}

// Send produces one message and returns its id once the broker has stored it.
func (m *MTR) Send(ctx context.Context, city, text string) (string, error) {
	msg := primitive.NewMessage(m.Topic, []byte(text))
	res, err := m.Producer.SendSync(tagging.With(ctx, city), msg)
	if err != nil {
		return "", fmt.Errorf("send to %s in %s: %w", m.Topic, m.Unit, err)
	}
	m.Journal.Sent(m.Unit, res.MsgID)
	m.Log.Info("message produced", "id", res.MsgID, "value", city, "unit", m.Unit)
	return res.MsgID, nil
}
