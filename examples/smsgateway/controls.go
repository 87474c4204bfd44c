package main

import (
	"fmt"
	"net/http"
	"strconv"
)

// addControls serves what the demo plays fate with; no gateway should offer it otherwise:
//
//	POST /carrier?unit=unit-2&down=true     the carrier refuses every delivery, or works again
//	POST /repair?unit=unit-2                the channel, whose breaker opened meanwhile, consumes again
func (g *gateway) addControls(mux *http.ServeMux) {
	mux.HandleFunc("POST /carrier", g.control(func(c *Channel, r *http.Request) error {
		down, err := strconv.ParseBool(r.URL.Query().Get("down"))
		if err != nil {
			return fmt.Errorf("down: use true or false: %w", err)
		}
		c.Carrier.SetDown(down)
		return nil
	}))
	mux.HandleFunc("POST /repair", g.control(func(c *Channel, _ *http.Request) error {
		c.Repair()
		return nil
	}))
}

func (g *gateway) control(do func(*Channel, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u := g.unit(r)
		if u == nil || u.channel == nil {
			http.Error(w, fmt.Sprintf("no Channel of unit %q runs here", r.URL.Query().Get("unit")), http.StatusNotFound)
			return
		}
		if err := do(u.channel, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}
}
