package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client speaks to one process of the gateway over HTTP, as its users and operators do.
type client struct {
	url  string
	http *http.Client
}

// send asks MTR of a unit to send an SMS.
func (c client) send(ctx context.Context, unit, city, text string) error {
	body, err := json.Marshal(sendRequest{City: city, Text: text})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, "/send?unit="+url.QueryEscape(unit), string(body), nil)
}

// journal reads what the process sent and processed.
func (c client) journal(ctx context.Context) (Entries, error) {
	var e Entries
	return e, c.call(ctx, http.MethodGet, "/journal", "", &e)
}

// setCarrier makes the carrier of a unit refuse every delivery, or work again.
func (c client) setCarrier(ctx context.Context, unit string, down bool) error {
	return c.call(ctx, http.MethodPost, fmt.Sprintf("/carrier?unit=%s&down=%t", url.QueryEscape(unit), down), "", nil)
}

// repair makes the channel of a unit consume again.
func (c client) repair(ctx context.Context, unit string) error {
	return c.call(ctx, http.MethodPost, "/repair?unit="+url.QueryEscape(unit), "", nil)
}

// switchAnswer is the part of the manager's answer the demo shows.
type switchAnswer struct {
	Task      string `json:"task"`
	TakenOver int64  `json:"takenOver"`
}

// switchTo asks the manager for a switch and returns how long the answer took.
func (c client) switchTo(ctx context.Context, query string) (time.Duration, switchAnswer, error) {
	var answer switchAnswer
	start := time.Now()
	err := c.call(ctx, http.MethodGet, "/switch?"+query, "", &answer)
	return time.Since(start), answer, err
}

// call makes a request and decodes its answer into answer, unless that is nil; an answer other than 200 is an error.
func (c client) call(ctx context.Context, method, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
