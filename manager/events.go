package manager

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/go-msha/msha/switchplan"
)

const (
	eventBuffer  = 256              // how far a reader of /events may be behind
	eventSilence = 15 * time.Second // after it something is sent, so that nobody on the way takes the connection for dead
	eventWrite   = 10 * time.Second // how long a reader may take to accept what is sent
)

// Events subscribes to what happens in the switches this manager runs, as switchplan.Stream.Subscribe does. Close ends the subscriptions, after
// the last switch.
func (m *Manager) Events(buffer int) (events <-chan switchplan.Event, cancel func()) {
	return m.events.Subscribe(buffer)
}

// CloseEvents ends all subscriptions and requests for /events, those to come too. An http.Server waits for running requests when it is
// shut down: server.RegisterOnShutdown(m.CloseEvents).
func (m *Manager) CloseEvents() { m.events.Close() }

// serveEvents sends events as they come: server-sent events, the kind as type, JSON as data. With task=<id> only that switch's.
func (m *Manager) serveEvents(w http.ResponseWriter, r *http.Request) {
	q, err := eventParameters.of(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "", err)
		return
	}
	events, cancel := m.events.Subscribe(eventBuffer)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	send := func(text string) bool {
		out.SetWriteDeadline(time.Now().Add(eventWrite)) //nolint:errcheck // where it is not supported, the server's own counts
		_, err := w.Write([]byte(text))
		return err == nil && out.Flush() == nil
	}
	quiet := time.NewTicker(eventSilence)
	defer quiet.Stop()
	for open := send(": events\n\n"); open; {
		select {
		case <-r.Context().Done():
			return
		case <-quiet.C:
			open = send(": quiet\n\n")
		case e, more := <-events:
			if !more {
				return
			}
			if task := q.Get("task"); task == "" || task == e.Task || e.Kind == switchplan.EventDropped {
				open = send(eventText(e))
			}
		}
	}
}

func eventText(e switchplan.Event) string {
	data, err := json.Marshal(e)
	if err != nil {
		data = fmt.Appendf(nil, "{\"error\": %q}", err.Error())
	}
	return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Kind, data)
}
