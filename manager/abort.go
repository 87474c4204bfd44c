package manager

import (
	"context"
	"net/http"

	"github.com/go-msha/msha/switchplan"
)

var abortParameters = parameters{single: []string{"by", "note"}}

// serveAbort calls a switch off: POST /orders/{id}/abort. It answers before that has happened, as another manager may have to do it.
func (m *Manager) serveAbort(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	q, err := abortParameters.of(r)
	c := switchplan.CallOff{Note: q.Get("note")}
	if err == nil {
		c.By, err = m.who(r, q)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		err = m.Abort(ctx, id, c.By, c.Note)
	}
	if err != nil {
		fail(w, planStatus(err), id, err)
		return
	}
	reply(w, http.StatusAccepted, struct {
		Task string `json:"task"`
		switchplan.CallOff
	}{id, c})
}
